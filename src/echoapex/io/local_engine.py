"""The default engine: a pool of processes on this machine, and the contract that every engine keeps.

Units of work go out to workers; results come back in the order of the units.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from echoapex.io.processes import new_pool, run_stoppable, stop_workers

_TRIES_ALONE = 2
_UNITS_AHEAD = 4


class WorkUnit(Protocol):
    """What a worker gets at once."""

    def for_worker(self) -> Self:
        """The unit without what cannot travel to another process."""
        ...


AnyUnit = TypeVar("AnyUnit", bound=WorkUnit)
Report = TypeVar("Report")


class EngineError(ValueError):
    """Work that cannot be divided as asked, or workers that do not fit; the message says what to do."""


@dataclass(frozen=True)
class LostUnit:
    """A unit whose worker died each time it was tried."""


class Engine(Protocol):
    """Runs the work on many units at once."""

    def run(
        self, work: Callable[[AnyUnit], Report], units: Iterable[AnyUnit]
    ) -> Generator[tuple[AnyUnit, Report | LostUnit], None, None]:
        """Run ``work`` on every unit; ``units`` is drawn from as workers become free.

        A worker that dies (killed, out of memory, its machine gone) is replaced, and its unit tried again. An error
        that ``work`` raises ends the run. Closing the generator stops the workers.

        Args:
            work: the work on one unit; it can be pickled.
            units: in the order in which the results are wanted.

        Yields:
            Every unit with its report, or with ``LostUnit``, in the order of ``units`` however they finish.

        Raises:
            EngineError: the workers cannot be reached or started.
        """
        ...


class InlineEngine:
    """One unit after the other in this process: for notebooks, debugging and tests."""

    def run(
        self, work: Callable[[AnyUnit], Report], units: Iterable[AnyUnit]
    ) -> Generator[tuple[AnyUnit, Report | LostUnit], None, None]:
        """See :class:`Engine`."""
        for unit in units:
            yield unit, work(unit.for_worker())


class LocalEngine:
    """A process pool. If a worker dies, the whole pool dies; unfinished units are then retried one by one.

    Args:
        workers: processes.
    """

    def __init__(self, workers: int) -> None:
        self._workers = max(1, workers)

    def run(
        self, work: Callable[[AnyUnit], Report], units: Iterable[AnyUnit]
    ) -> Generator[tuple[AnyUnit, Report | LostUnit], None, None]:
        """See :class:`~echoapex.io.local_engine.Engine`."""
        waiting = iter(units)
        flying: deque[tuple[AnyUnit, Future[Report]]] = deque()
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
            if flying:  # interrupted: running units are not waited for
                stop_workers(pool)
            pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, work: Callable[[AnyUnit], Report], unit: AnyUnit) -> Future[Report]:
    try:
        return pool.submit(run_stoppable, work, unit.for_worker())
    except BrokenProcessPool as error:
        broken: Future[Report] = Future()
        broken.set_exception(error)
        return broken


def _one_by_one(
    work: Callable[[AnyUnit], Report], flying: Iterable[tuple[AnyUnit, Future[Report]]]
) -> Generator[tuple[AnyUnit, Report | LostUnit], None, None]:
    """Reports of a broken pool's units: finished ones are kept, the others run alone, so that the culprit is found."""
    for unit, future in flying:
        error = future.exception()
        if error is None:
            yield unit, future.result()
        elif isinstance(error, BrokenProcessPool):
            yield unit, _alone(work, unit)
        else:
            raise error


def _alone(work: Callable[[AnyUnit], Report], unit: AnyUnit) -> Report | LostUnit:
    for _ in range(_TRIES_ALONE):
        with _new_pool(1) as pool:
            try:
                return pool.submit(run_stoppable, work, unit.for_worker()).result()
            except BrokenProcessPool:
                continue
            except BaseException:
                stop_workers(pool)
                raise
    return LostUnit()


def _new_pool(workers: int) -> ProcessPoolExecutor:
    # libraries keep threads, which do not survive a fork; the server that forks was perhaps started before credentials
    # or an address of storage were set
    return new_pool(workers, "forkserver", _take_environment, dict(os.environ))


def _take_environment(environment: Mapping[str, str]) -> None:
    """Take over the parent's current environment, and use one core for tables."""
    os.environ.update(environment)
    os.environ.setdefault("LANCE_CPU_THREADS", "1")
