"""The engine for many machines: Ray tasks, on an existing cluster or on one that is started here.

What is read and written must have the same paths and URLs on every machine, and EchoApex must be installed there.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from echoapex.io.local_engine import AnyUnit, EngineError, LostUnit, Report

_RETRIES = 2
_UNITS_AHEAD = 4


class RayEngine:
    """Ray tasks, one core each.

    Args:
        address: of the head node, ``host:port``; without one a Ray of this machine alone is started.
        workers: cores to use at once; all of the cluster by default.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._address = address
        self._workers = workers

    def run(
        self, work: Callable[[AnyUnit], Report], units: Iterable[AnyUnit]
    ) -> Generator[tuple[AnyUnit, Report | LostUnit], None, None]:
        """See :class:`~echoapex.io.local_engine.Engine`.

        Raises:
            EngineError: Ray is not installed, or there is no cluster at the address.
        """
        ray = _import_ray()
        self._connect(ray)
        try:
            yield from self._run(ray, work, iter(units))
        finally:
            ray.shutdown()

    def _run(
        self, ray: Any, work: Callable[[AnyUnit], Report], waiting: Iterator[AnyUnit]
    ) -> Generator[tuple[AnyUnit, Report | LostUnit], None, None]:
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_as_function(work))
        flying: deque[tuple[AnyUnit, Any]] = deque()
        while True:
            # machines may come and go while the work is done
            most = self._workers or _UNITS_AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while len(flying) < most and (unit := next(waiting, None)) is not None:
                flying.append((unit, task.remote(unit.for_worker())))
            if not flying:
                return
            unit, reference = flying.popleft()
            yield unit, _result(ray, reference)

    def _connect(self, ray: Any) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if self._address:
                ray.init(address=self._address, **quiet)
            else:
                ray.init(address="local", include_dashboard=False, num_cpus=self._workers, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise EngineError(
                "Ray cannot be reached or started; check --ray-address and that the versions agree"
            ) from error


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise cause if _is_our_own(cause) else EngineError(_unexpected(cause)) from None
    except ray.exceptions.RayError:
        return LostUnit()


def _is_our_own(cause: BaseException) -> bool:
    """Whether an error is one of EchoApex, whose message says what to do."""
    return isinstance(cause, ValueError) and type(cause).__module__.partition(".")[0] == __name__.partition(".")[0]


def _unexpected(cause: BaseException) -> str:
    kind = type(cause).__name__
    return f"a worker failed ({kind}); check that every machine has the same EchoApex and can reach the output"


def _as_function(work: Callable[[AnyUnit], Report]) -> Callable[[AnyUnit], Report]:
    """The work as a plain function, which Ray requires; closures are sent by value."""

    def run_unit(unit: AnyUnit) -> Report:
        return work(unit)

    return run_unit


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise EngineError(
            "the engine ray needs the library Ray; install it with: pip install 'echoapex[ray]'"
        ) from error
