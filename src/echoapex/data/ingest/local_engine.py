"""The default engine: a pool of processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from echoapex.data.ingest.engine import LostUnit, Outcome, Work
from echoapex.data.ingest.plan import Unit
from echoapex.data.ingest.unit_work import UnitReport

_TRIES_ALONE = 2
_UNITS_AHEAD = 4


class LocalEngine:
    """A process pool. When a worker dies the whole pool does; what was in flight is then tried unit by unit.

    Args:
        workers: processes.
    """

    def __init__(self, workers: int) -> None:
        self._workers = max(1, workers)

    def run(self, work: Work, units: Iterable[Unit]) -> Iterator[tuple[Unit, Outcome]]:
        """See :class:`~echoapex.data.ingest.engine.Engine`."""
        waiting = iter(units)
        flying: deque[tuple[Unit, Future[UnitReport]]] = deque()
        pool = _new_pool(self._workers)
        try:
            while True:
                while len(flying) < _UNITS_AHEAD * self._workers and (unit := next(waiting, None)) is not None:
                    flying.append((unit, _submit(pool, work, unit)))
                if not flying:
                    break
                try:
                    outcome = flying[0][1].result()
                except BrokenProcessPool:
                    pool.shutdown()
                    yield from _one_by_one(work, flying)
                    flying.clear()
                    pool = _new_pool(self._workers)
                else:
                    yield flying.popleft()[0], outcome
        finally:
            if flying:  # interrupted: what is under way was not committed and is not waited for
                _end_workers(pool)
            pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, work: Work, unit: Unit) -> Future[UnitReport]:
    try:
        return pool.submit(work, unit.for_worker())
    except BrokenProcessPool as error:
        broken: Future[UnitReport] = Future()
        broken.set_exception(error)
        return broken


def _one_by_one(work: Work, flying: Iterable[tuple[Unit, Future[UnitReport]]]) -> Iterator[tuple[Unit, Outcome]]:
    """Units of a broken pool: finished ones as they are, each other one alone, so that the culprit is known."""
    for unit, future in flying:
        error = future.exception()
        if error is None:
            yield unit, future.result()
        elif isinstance(error, BrokenProcessPool):
            yield unit, _alone(work, unit)
        else:
            raise error


def _alone(work: Work, unit: Unit) -> Outcome:
    for _ in range(_TRIES_ALONE):
        with _new_pool(1) as pool:
            try:
                return pool.submit(work, unit.for_worker()).result()
            except BrokenProcessPool:
                continue
    return LostUnit()


def _end_workers(pool: ProcessPoolExecutor) -> None:
    # a public way to do this comes with Python 3.14
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.terminate()


def _new_pool(workers: int) -> ProcessPoolExecutor:
    # Lance and the numerical libraries keep threads, which do not survive a fork
    context = multiprocessing.get_context("forkserver")
    # the server that forks was perhaps started before credentials or an address of storage were set
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(dict(os.environ),))


def _begin_worker(environment: Mapping[str, str]) -> None:
    """See the environment that the parent has now, leave Ctrl-C to it, end with it, and use one core."""
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("LANCE_CPU_THREADS", "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
