"""A whole node: the listener, its workers and its housekeeping, from the start to an orderly end on SIGTERM."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from contextlib import ExitStack
from typing import Any

from echoapex.serve.database import DATABASE_ERRORS, Database
from echoapex.serve.dicom_node import DicomNode, StorageHandler
from echoapex.serve.folder_lock import lock_folder
from echoapex.serve.health import HealthServer, NodeState
from echoapex.serve.jobs import JobKind
from echoapex.serve.node_config import NodeConfig
from echoapex.serve.worker import TRANSFERS, JobLoop, NodeParts, TransferWork, run_analysis_process
from echoapex.serve.worklist import WorklistPoller, WorklistWork

_LOG = logging.getLogger("echoapex.node")
_LOOK_S = 0.5
_HOUSEKEEPING_S = 60.0
_CLOSE_PATIENCE_S = 10.0
_WORKER_PATIENCE_S = 60.0
_LONGEST_RESTART_S = 60.0


class _Workers:
    """The processes of analysis; one that ends is started again, with growing waits."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[Any] = [self._start() for _ in range(config.analysis.workers)]
        self._failures = 0
        self._restart_at = 0.0

    def _start(self) -> Any:
        process = self._context.Process(target=run_analysis_process, args=(self._config,), name="echoapex-analysis")
        process.start()
        return process

    def running(self) -> int:
        """How many run."""
        return sum(1 for process in self._processes if process.is_alive())

    def restart_ended(self) -> bool:
        """Start those again that ended; returns whether one did."""
        now = time.monotonic()
        ended = [place for place, process in enumerate(self._processes) if not process.is_alive()]
        if not ended or now < self._restart_at:
            return False
        self._failures = 0 if now - self._restart_at > 10 * _LONGEST_RESTART_S else self._failures + 1
        self._restart_at = now + min(_LONGEST_RESTART_S, 0.5 * 2.0**self._failures)
        for place in ended:
            _LOG.error(
                "a process of analysis ended (exit code %s); it is started again", self._processes[place].exitcode
            )
            self._processes[place] = self._start()
        return True

    def close(self) -> None:
        """Let each finish or return its job; kill what does not end."""
        for process in self._processes:
            process.terminate()
        ends = time.monotonic() + _WORKER_PATIENCE_S
        for process in self._processes:
            process.join(max(0.0, ends - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


class NodeService:
    """A node that runs until told to stop.

    Args:
        config: its settings.

    Raises:
        ConfigError: an address, certificate or folder cannot be used, or another node uses the folder.
        DatabaseError: the database cannot be used.
    """

    def __init__(self, config: NodeConfig) -> None:
        os.umask(0o077)
        self._config = config
        self._stop = threading.Event()
        self._lock = lock_folder(config.data, "node", "data", "another node uses this data folder; stop it first")
        Database(config.database_url).migrate()
        self.parts = NodeParts.open(config)
        self.handler = StorageHandler(self.parts.studies, config.limits.instance_mb)
        freed, found = self.parts.queue.release_ended(), self.parts.studies.recover()
        if freed or found:
            _LOG.warning("after a crash: %d jobs are taken up again, %d instances were registered", freed, found)

    def stop(self, *_: object) -> None:
        """Tell the node to stop; may be used as the handler of a signal."""
        self._stop.set()

    def run(self) -> None:
        """Work until told to stop, then end in order: no new associations, jobs finished or returned."""
        config = self._config
        with ExitStack() as closing:
            closing.callback(self._lock.close)
            workers = _Workers(config)
            closing.callback(workers.close)
            work = TransferWork(self.parts, self.handler)
            loops = [JobLoop(self.parts, TRANSFERS, work.do, self._stop) for _ in range(config.transfers)]
            threads = [threading.Thread(target=loop.run, daemon=True) for loop in loops]
            threads += self._worklist_threads()
            node = DicomNode(config, self.handler, self.parts.ledger)
            closing.callback(node.close, 0.0)
            if config.health.port:
                state = NodeState(self.parts, self.handler, node, workers.running)
                closing.callback(HealthServer(state).close)
            _LOG.info("%s listens on %s:%d", config.ae_title, config.host, node.port)
            try:
                for thread in threads:
                    thread.start()
                self._look_after(workers)
            finally:
                self._stop.set()
                _LOG.info("stops: no new associations, jobs are finished or returned")
                node.close(_CLOSE_PATIENCE_S)
                for thread in threads:
                    thread.join(_WORKER_PATIENCE_S)
        _LOG.info("stopped")

    def _worklist_threads(self) -> list[threading.Thread]:
        """What asks a worklist for work and does it, where the settings name one."""
        if self._config.worklist is None:
            return []
        poller = WorklistPoller(self.parts, self._config.worklist)
        work = WorklistWork(self.parts, self._config.worklist)
        loop = JobLoop(self.parts, (JobKind.WORKITEM,), work.do, self._stop)
        return [
            threading.Thread(target=poller.run, args=(self._stop,), daemon=True),
            threading.Thread(target=loop.run, daemon=True),
        ]

    def _look_after(self, workers: _Workers) -> None:
        cleaned = 0.0
        while not self._stop.wait(_LOOK_S):
            try:
                if workers.restart_ended():
                    self.parts.queue.release_ended()
                if settled := self.parts.studies.settle(self._config.settle_s):
                    _LOG.info("%d studies are complete", settled)
                if time.monotonic() - cleaned > _HOUSEKEEPING_S:
                    self.parts.studies.clear_finished(self._config.keep_hours * 3600)
                    cleaned = time.monotonic()
            except DATABASE_ERRORS as error:
                _LOG.error("the database or the disk cannot be used (%s)", type(error).__name__)
                self._stop.wait(5.0)
