"""Workitems of a worklist, from the search to their end: claimed once, done through the job queue, told how it went.

A workitem is written down together with its transaction UID before it is claimed. So after a crash the node knows which
workitems are its own, and claims none twice. Its study is then fetched, analysed and sent like any other. At last the
workitem is completed with references to the results at one peer, or canceled with a reason.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset

from echoapex.io.dicom.derived_object import new_uid
from echoapex.serve.database import DATABASE_ERRORS, JOBS, STUDIES, WORKITEMS
from echoapex.serve.dicom_client import PeerError
from echoapex.serve.jobs import Job, JobKind, JobState
from echoapex.serve.ledger import ResultObject
from echoapex.serve.node_config import NodeConfig, WebPeer, WorklistServer
from echoapex.serve.studies import StudyState
from echoapex.serve.worker import NodeParts
from echoapex.serve.worklist_client import (
    CANCELED,
    COMPLETED,
    IN_PROGRESS,
    RefusedError,
    WorklistClient,
    cancellation_of,
    code_sequence_item,
    dicom_time,
    progress_of,
)
from echoapex.vocabulary.codes import (
    DISCONTINUED,
    IMAGE_PROCESSING,
    OBJECT_SET_INCOMPLETE,
    OBJECT_TYPES_NOT_SUPPORTED,
    OWN_SCHEME,
    Code,
)

_LOG = logging.getLogger("echoapex.node")
_LOOK_S = 1.0
_MOST_ASKED = 100


class WorkitemState(StrEnum):
    """How far a workitem is."""

    FOUND = "found"
    """Seen at the server; it may or may not be ours yet."""
    CLAIMED = "claimed"
    COMPLETED = "completed"
    CANCELED = "canceled"
    LOST = "lost"
    """Another performer has it, or the worklist took it back."""


@dataclass(frozen=True)
class StudyProgress:
    """How far the study of a workitem is.

    Attributes:
        percent: done.
        what: is being done.
        results: at the peer that the workitem will name; None as long as it is not settled what arrives there.
        failure: why there will be none, and its code; None where nothing failed.
    """

    percent: int
    what: str
    results: Sequence[ResultObject] | None = None
    failure: tuple[str, Code] | None = None


class WorklistPoller:
    """Asks a worklist for work, as long as this node holds less than it may.

    Args:
        parts: of the node.
        server: the worklist.

    Raises:
        ConfigError: the environment lacks the password.
    """

    def __init__(self, parts: NodeParts, server: WorklistServer) -> None:
        self._parts = parts
        self._server = server
        self._client = WorklistClient(server)

    def run(self, stop: threading.Event) -> None:
        """Ask again and again until told to stop."""
        while not stop.is_set():
            try:
                if found := self.look():
                    _LOG.info("%d workitems were found", found)
            except PeerError as error:
                _LOG.warning("%s", error)
            except DATABASE_ERRORS as error:
                _LOG.error("the database cannot be used (%s)", type(error).__name__)
            stop.wait(self._server.poll_s)

    def look(self) -> int:
        """Ask once; returns how many workitems were written down to be claimed.

        Raises:
            PeerError: the worklist cannot be asked.
        """
        is_open = WORKITEMS.c.state.in_((WorkitemState.FOUND, WorkitemState.CLAIMED))
        with self._parts.database.read() as connection:
            held = connection.execute(sa.select(sa.func.count()).where(is_open).select_from(WORKITEMS)).scalar_one()
        room = self._server.most - held
        taken = 0
        for item in self._client.search(_MOST_ASKED) if room > 0 else ():
            if taken == room:
                break
            row = {"uid": item.uid, "study_uid": item.study_uid, "transaction_uid": str(new_uid())}
            with self._parts.database.begin() as connection:
                empty = {"state": WorkitemState.FOUND, "reason": "", "found": time.time()}
                if self._parts.database.insert_new(connection, WORKITEMS, **row, **empty):
                    self._parts.queue.add(connection, JobKind.WORKITEM, item.study_uid, digest=item.uid)
                    taken += 1
        return taken


class WorklistWork:
    """Does workitems: claims them, follows their studies, and finishes them.

    Args:
        parts: of the node.
        server: the worklist.

    Raises:
        ConfigError: the environment lacks the password.
    """

    def __init__(self, parts: NodeParts, server: WorklistServer) -> None:
        self._parts = parts
        self._server = server
        self._client = WorklistClient(server)
        self._results_at = server.results_at or parts.config.send_to[0]

    def do(self, job: Job) -> None:
        """Do the next step of a workitem; the job goes back to the queue until the workitem is finished.

        Raises:
            PeerError: the worklist did not do what was asked.
        """
        query = sa.select(WORKITEMS).where(WORKITEMS.c.uid == job.digest)
        with self._parts.database.read() as connection:
            row = dict(connection.execute(query).mappings().one())
        try:
            if row["state"] == WorkitemState.FOUND:
                self._claim(job, row)
            elif row["state"] == WorkitemState.CLAIMED:
                self._follow(job, row)
            else:
                self._end(job, WorkitemState(row["state"]), row["reason"])
        except RefusedError:
            state = self._client.state_of(job.digest)
            if state == IN_PROGRESS:
                raise
            self._end(job, WorkitemState.LOST, "the worklist has ended it")

    def _claim(self, job: Job, row: dict[str, Any]) -> None:
        if not self._client.claim(job.digest, row["transaction_uid"]):
            self._end(job, WorkitemState.LOST, "another performer was first")
            return
        queue, peer = self._parts.queue, self._server.fetch_from
        with self._parts.database.begin() as connection:
            self._write(connection, job, state=WorkitemState.CLAIMED, claimed=time.time())
            if not queue.add(connection, JobKind.RETRIEVE, job.study_uid, peer=peer):
                queue.reopen(connection, JobKind.RETRIEVE, job.study_uid, peer=peer, digest="")
        _LOG.info("workitem of study %s: claimed", self._parts.studies.key_of(job.study_uid))
        queue.give_back(job, _LOOK_S, fresh=True)

    def _follow(self, job: Job, row: dict[str, Any]) -> None:
        progress = self._progress(job.study_uid)
        if progress.failure is not None:
            reason, code = progress.failure
            self._finish(job, row, cancellation_of(reason, code), CANCELED)
            self._end(job, WorkitemState.CANCELED, reason)
        elif progress.results is not None:
            outputs = describe_outputs(self._parts.config, self._results_at, row["claimed"], progress.results)
            self._finish(job, row, outputs, COMPLETED)
            self._end(job, WorkitemState.COMPLETED, "")
        else:
            if row["told"] != progress.percent:
                told = progress_of(progress.percent, progress.what)
                self._client.update(job.digest, row["transaction_uid"], told)
                with self._parts.database.begin() as connection:
                    self._write(connection, job, told=progress.percent)
            self._parts.queue.give_back(job, _LOOK_S, fresh=True)

    def _finish(self, job: Job, row: dict[str, Any], changes: Dataset, state: str) -> None:
        """Bring a workitem to its final state, also where an earlier try got through and its answer did not."""
        try:
            self._client.update(job.digest, row["transaction_uid"], changes)
            self._client.change_state(job.digest, row["transaction_uid"], state)
        except RefusedError:
            if self._client.state_of(job.digest) != state:
                raise

    def _end(self, job: Job, state: WorkitemState, reason: str) -> None:
        with self._parts.queue.finishing(job) as connection:
            self._write(connection, job, state=state, reason=reason)
        study = self._parts.studies.key_of(job.study_uid)
        _LOG.info("workitem of study %s: %s%s", study, state, f", {reason}" if reason else "")

    def _write(self, connection: sa.Connection, job: Job, **values: Any) -> None:
        connection.execute(sa.update(WORKITEMS).where(WORKITEMS.c.uid == job.digest).values(**values))

    def _progress(self, study_uid: str) -> StudyProgress:
        """How far the study is: fetched, complete, analysed, sent."""
        with self._parts.database.read() as connection:
            study = connection.execute(sa.select(STUDIES).where(STUDIES.c.study_uid == study_uid)).mappings().first()
            jobs = connection.execute(sa.select(JOBS).where(JOBS.c.study_uid == study_uid)).mappings().all()
        digest = study["digest"] if study else ""
        states = {(one["kind"], one["peer"]): one["state"] for one in jobs if one["digest"] in ("", digest)}
        fetching = states.get((JobKind.RETRIEVE, self._server.fetch_from))
        if fetching == JobState.DEAD:
            return _failed("the study could not be fetched", OBJECT_SET_INCOMPLETE)
        if fetching != JobState.DONE:
            return StudyProgress(0, "fetching the study")
        if study is None:
            return _failed("the study has no ultrasound images", OBJECT_TYPES_NOT_SUPPORTED)
        if study["state"] == StudyState.RECEIVING:
            return StudyProgress(20, "waiting until the study is complete")
        if states.get((JobKind.ANALYZE, "")) == JobState.DEAD:
            return _failed("the analysis failed", DISCONTINUED)
        if states.get((JobKind.ANALYZE, "")) != JobState.DONE:
            return StudyProgress(30, "analysing")
        sending = states.get((JobKind.SEND, self._results_at))
        if sending is None:
            return _failed("the analysis has no results", OBJECT_TYPES_NOT_SUPPORTED)
        if sending not in (JobState.DONE, JobState.DEAD):
            return StudyProgress(90, "sending results")
        arrived = self._parts.ledger.arrived(study_uid, digest, self._results_at)
        return StudyProgress(100, "done", arrived) if arrived else _failed("no result could be sent", DISCONTINUED)


def _failed(reason: str, code: Code) -> StudyProgress:
    return StudyProgress(0, reason, failure=(reason, code))


def describe_outputs(config: NodeConfig, results_at: str, began_s: float, results: Sequence[ResultObject]) -> Dataset:
    """What a completed workitem says of its performance (PS3.4 table CC.2.5-3, final state P).

    Args:
        config: settings of the node.
        results_at: the peer that has the results.
        began_s: when the workitem was claimed, as the clock gives it.
        results: the objects.
    """
    performed = Dataset()
    performed.PerformedStationNameCodeSequence = [code_sequence_item(Code(config.ae_title, OWN_SCHEME, "EchoApex"))]
    performed.PerformedWorkitemCodeSequence = [code_sequence_item(IMAGE_PROCESSING)]
    performed.PerformedProcedureStepStartDateTime = dicom_time(datetime.fromtimestamp(began_s))
    performed.PerformedProcedureStepEndDateTime = dicom_time(datetime.now())
    by_series = groupby(sorted(results, key=lambda one: one.series_uid), key=lambda one: one.series_uid)
    performed.OutputInformationSequence = [
        _output_of_series(config, results_at, series_uid, list(objects)) for series_uid, objects in by_series
    ]
    changes = progress_of(100, "done")
    changes.UnifiedProcedureStepPerformedProcedureSequence = [performed]
    return changes


def _output_of_series(config: NodeConfig, results_at: str, series_uid: str, objects: Sequence[ResultObject]) -> Dataset:
    """The objects of a series and how to fetch them (PS3.3 table 10-3b)."""
    output = Dataset()
    output.TypeOfInstances = "DICOM"
    output.StudyInstanceUID, output.SeriesInstanceUID = objects[0].study_uid, series_uid
    output.ReferencedSOPSequence = []
    for one in objects:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = one.sop_class, one.sop_uid
        output.ReferencedSOPSequence.append(reference)
    peer, access = config.peer(results_at), Dataset()
    if isinstance(peer, WebPeer):
        access.RetrieveURL = f"{peer.url.rstrip('/')}/studies/{objects[0].study_uid}/series/{series_uid}"
        output.WADORSRetrievalSequence = [access]
    else:
        access.RetrieveAETitle = peer.ae_title
        output.DICOMRetrievalSequence = [access]
    return output
