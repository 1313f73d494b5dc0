"""Workers take jobs and do them: analysis in processes of its own, sending and retrieval in threads of the node.

A worker that dies, even by ``kill -9`` or a fault in a decoder, loses nothing: its job is done again by another. A job
that kills its worker every time becomes a dead letter.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from echoapex.config import ConfigError
from echoapex.io.dicom.writer import derive_uid
from echoapex.serve.database import DATABASE_ERRORS, Database
from echoapex.serve.dicom_client import DicomClient, PeerError
from echoapex.serve.dicom_node import StorageHandler
from echoapex.serve.dicomweb import WebClient
from echoapex.serve.jobs import QUEUE_ERRORS, Job, JobKind, JobQueue, LostClaimError, worker_name
from echoapex.serve.ledger import SendLedger, SendState
from echoapex.serve.node_config import DicomPeer, NodeConfig
from echoapex.serve.studies import OutOfRoomError, StudyStore

TRANSFERS = (JobKind.SEND, JobKind.COMMIT, JobKind.RETRIEVE)
_LOG = logging.getLogger("echoapex.node")
_IDLE_S = 0.25
_NO_ROOM_WAIT_S = 30.0
_COMMITMENT_LOOK_S = 1.0
_COMMITMENT_ANSWER_S = 60.0


class StoppedError(RuntimeError):
    """The node is told to stop: the job goes back as it was."""


@dataclass(frozen=True)
class NodeParts:
    """What all parts of a node share.

    Attributes:
        config: its settings.
        database: its tables.
        queue: its jobs.
        studies: its studies.
        ledger: what was sent.
    """

    config: NodeConfig
    database: Database
    queue: JobQueue
    studies: StudyStore
    ledger: SendLedger

    @classmethod
    def open(cls, config: NodeConfig) -> NodeParts:
        """Open the database and the folder of a node; the tables must be there."""
        database = Database(config.database_url)
        queue = JobQueue(database, config.retry)
        studies = StudyStore(config.data, database, queue, free_mb=config.limits.free_mb)
        return cls(config, database, queue, studies, SendLedger(config.data, database, queue))


def client_of(config: NodeConfig, name: str) -> DicomClient | WebClient:
    """The client of a peer.

    Raises:
        ConfigError: there is no such peer, or its password is not in the environment.
    """
    peer = config.peer(name)
    if isinstance(peer, DicomPeer):
        return DicomClient(name, peer, config.ae_title, config.tls)
    return WebClient(name, peer)


class JobLoop:
    """Claims jobs of some kinds one after the other, and does them until told to stop.

    Args:
        parts: of the node.
        kinds: which jobs.
        work: does a job and ends it; what it raises decides whether it is tried again.
        stop: set when the node stops.
    """

    def __init__(
        self, parts: NodeParts, kinds: Sequence[JobKind], work: Callable[[Job], None], stop: threading.Event
    ) -> None:
        self._parts = parts
        self._kinds = kinds
        self._work = work
        self._stop = stop

    def run(self) -> None:
        """Work until told to stop."""
        name = worker_name()
        while not self._stop.is_set():
            try:
                job = self._parts.queue.claim(name, self._kinds)
            except QUEUE_ERRORS as error:
                _LOG.error("the database cannot be used (%s)", type(error).__name__)
                self._stop.wait(5.0)
                continue
            if job is None:
                self._stop.wait(_IDLE_S)
            else:
                self.do(job)

    def do(self, job: Job) -> None:
        """Do one job, and let it be tried again if it fails."""
        done = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(job, done), daemon=True)
        renewal.start()
        try:
            self._end(job)
        except QUEUE_ERRORS as error:  # nothing was committed; another worker takes the job when the lease ends
            _LOG.error("%s %d: the database cannot be used (%s)", job.kind, job.id, type(error).__name__)
        finally:
            done.set()
            renewal.join()

    def _end(self, job: Job) -> None:
        queue = self._parts.queue
        study = self._parts.studies.key_of(job.study_uid)
        try:
            self._work(job)
        except (StoppedError, KeyboardInterrupt):
            queue.give_back(job)
            _LOG.info("%s %d (study %s): goes back, the node stops", job.kind, job.id, study)
        except OutOfRoomError:
            queue.give_back(job, _NO_ROOM_WAIT_S, "the disk is full")
            _LOG.error("%s %d (study %s): waits, the disk is full", job.kind, job.id, study)
        except LostClaimError:
            _LOG.warning("%s %d (study %s): went to another worker", job.kind, job.id, study)
        except (PeerError, ConfigError) as error:
            for_good = isinstance(error, ConfigError) or error.for_good
            self._failed(job, str(error), for_good=for_good)
        except DATABASE_ERRORS:
            raise
        except Exception as error:  # its message may quote the file
            self._failed(job, f"internal error: {type(error).__name__}")

    def _failed(self, job: Job, reason: str, *, for_good: bool = False) -> None:
        dead = self._parts.queue.fail(job, reason, for_good=for_good)
        study = self._parts.studies.key_of(job.study_uid)
        what = "is a dead letter" if dead else "is tried again later"
        _LOG.error("%s %d (study %s): attempt %d failed, %s: %s", job.kind, job.id, study, job.attempts, what, reason)

    def _renew(self, job: Job, done: threading.Event) -> None:
        while not done.wait(self._parts.queue.lease_s / 4):
            try:
                self._parts.queue.renew(job)
            except LostClaimError:
                return
            except DATABASE_ERRORS:
                continue


class TransferWork:
    """Sends results, asks for commitment, and retrieves studies.

    Args:
        parts: of the node.
        handler: takes what C-GET fetches.
    """

    def __init__(self, parts: NodeParts, handler: StorageHandler) -> None:
        self._parts = parts
        self._handler = handler

    def do(self, job: Job) -> None:
        """Do one job.

        Raises:
            PeerError: the peer did not do what was asked.
        """
        {JobKind.SEND: self._send, JobKind.COMMIT: self._commit, JobKind.RETRIEVE: self._retrieve}[job.kind](job)

    def _send(self, job: Job) -> None:
        ledger, client = self._parts.ledger, client_of(self._parts.config, job.peer)
        peer = self._parts.config.peer(job.peer)
        waiting = []
        for sending in ledger.sendings(job, (SendState.PENDING, SendState.STARTED)):
            may_be_there = sending.state is SendState.STARTED and not (isinstance(peer, DicomPeer) and not peer.check)
            if may_be_there and client.has(sending.result):
                ledger.mark(sending.result, job.peer, SendState.SENT)
            else:
                waiting.append(sending.result)
        refusal: PeerError | None = None
        if waiting:
            for result, error in client.store(waiting, lambda one: ledger.mark(one, job.peer, SendState.STARTED)):
                if error is None:
                    ledger.mark(result, job.peer, SendState.SENT)
                elif refusal is None or refusal.for_good:  # tried again as long as one object may still be taken
                    refusal = error
        if refusal is not None:
            raise refusal
        with self._parts.queue.finishing(job) as connection:
            if isinstance(peer, DicomPeer) and peer.commitment:
                same = {"peer": job.peer, "digest": job.digest}
                if not self._parts.queue.add(connection, JobKind.COMMIT, job.study_uid, **same):
                    self._parts.queue.reopen(connection, JobKind.COMMIT, job.study_uid, **same)
            self._parts.studies.advance(connection, job.study_uid)
        study = self._parts.studies.key_of(job.study_uid)
        _LOG.info("study %s: %d results are at %s", study, len(waiting), job.peer)

    def _commit(self, job: Job) -> None:
        ledger, client = self._parts.ledger, client_of(self._parts.config, job.peer)
        open_ones = ledger.sendings(job, (SendState.PENDING, SendState.STARTED, SendState.SENT))
        asked = [one.asked_s for one in open_ones if one.asked_s is not None]
        results = [one.result for one in open_ones]
        if any(one.state is not SendState.SENT for one in open_ones) or not isinstance(client, DicomClient):
            with self._parts.queue.finishing(job):  # the peer lacks objects: sending asks again when it is done
                return
        if not open_ones:
            with self._parts.queue.finishing(job) as connection:
                self._parts.studies.advance(connection, job.study_uid)
        elif not asked:
            transaction_uid = str(derive_uid("commitment", job.holder, time.time()))
            ledger.mark_asked(results, job.peer, transaction_uid)
            client.request_commitment(results, transaction_uid)
            self._parts.queue.give_back(job, _COMMITMENT_LOOK_S)
        elif time.time() - min(asked) < _COMMITMENT_ANSWER_S:
            self._parts.queue.give_back(job, _COMMITMENT_LOOK_S)
        else:
            ledger.mark_asked(results, job.peer, None)
            raise PeerError(f"{job.peer}: did not answer the request for storage commitment")

    def _retrieve(self, job: Job) -> None:
        client = client_of(self._parts.config, job.peer)
        peer = self._parts.config.peer(job.peer)
        studies = self._parts.studies
        if isinstance(client, WebClient):
            client.retrieve(job.study_uid, studies.take, skip=lambda sop_uid: studies.has(job.study_uid, sop_uid))
        elif isinstance(peer, DicomPeer) and peer.retrieve == "get":
            client.get(job.study_uid, self._handler.store)
        else:
            client.move(job.study_uid)
        with self._parts.queue.finishing(job):
            pass


class AnalysisWork:
    """Analyses studies, and hands the results to the ledger.

    Args:
        parts: of the node.
        stop: set when the node stops; asked between two clips.
    """

    def __init__(self, parts: NodeParts, stop: threading.Event) -> None:
        self._parts = parts
        self._stop = stop
        self._maker: Any = None

    def do(self, job: Job) -> None:
        """Analyse the study of a job.

        Raises:
            StoppedError: the node stops.
            OutOfRoomError: the disk is full.
        """
        from echoapex.serve.results import ResultMaker  # the models load slowly

        parts = self._parts
        study = parts.studies.input_of(job.study_uid)
        if study.digest != job.digest:  # instances have joined it since; it is queued again when it is complete
            with parts.queue.finishing(job):
                return
        parts.studies.require_room()
        self._maker = self._maker or ResultMaker(parts.config.analysis, parts.config.data)
        results, report = self._maker.make(job.study_uid, study, self._check)
        with parts.queue.finishing(job) as connection:
            if parts.studies.is_current(connection, job.study_uid, job.digest):
                parts.ledger.add(connection, job, results, parts.config.send_to)
                parts.studies.advance(connection, job.study_uid)
        self._maker.forget(study)
        aside = sum(1 for clip in report.clips if clip.set_aside)
        found = (study.key, len(report.clips) - aside, aside, len(report.errors), len(results))
        _LOG.info("study %s: %d clips analysed, %d set aside, %d unreadable, %d results", *found)

    def _check(self) -> None:
        if self._stop.is_set():
            raise StoppedError("the node stops")


def run_analysis_process(config: NodeConfig) -> None:
    """What a process of analysis does, until it is told to stop by SIGTERM or the node is gone."""
    os.umask(0o077)
    log_to_standard_error()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the node, which tells its processes
    threading.Thread(target=end_with_parent, daemon=True).start()
    parts = NodeParts.open(config)
    JobLoop(parts, (JobKind.ANALYZE,), AnalysisWork(parts, stop).do, stop).run()


def log_to_standard_error() -> None:
    """Show the log of the node, and of nothing else: other libraries quote UIDs and names."""
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    own = logging.getLogger("echoapex")
    own.handlers, own.propagate = [shown], False
    own.setLevel(logging.INFO)
    logging.getLogger().handlers = [logging.NullHandler()]


def end_with_parent() -> None:
    """End this process at once when its parent is gone: the job is done again from what is written."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
