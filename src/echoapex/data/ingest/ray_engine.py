"""The engine for many machines: Ray tasks, on an existing cluster or on one that is started here.

Sources and store must have the same paths and URLs on every machine, and EchoApex must be installed there.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from echoapex.data.ingest.local_engine import LostUnit, Outcome, Work
from echoapex.data.ingest.plan import Unit
from echoapex.data.stores.place import StoreError

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

    def run(self, work: Work, units: Iterable[Unit]) -> Iterator[tuple[Unit, Outcome]]:
        """See :class:`~echoapex.data.ingest.local_engine.Engine`.

        Raises:
            StoreError: Ray is not installed, or there is no cluster at the address.
        """
        ray = _import_ray()
        self._connect(ray)
        try:
            yield from self._run(ray, work, iter(units))
        finally:
            ray.shutdown()

    def _run(self, ray: Any, work: Work, waiting: Iterator[Unit]) -> Iterator[tuple[Unit, Outcome]]:
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_as_function(work))
        flying: deque[tuple[Unit, Any]] = deque()
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
            raise StoreError(
                "Ray cannot be reached or started; check --ray-address and that the versions agree"
            ) from error


def _result(ray: Any, reference: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise cause if isinstance(cause, StoreError) else StoreError(_unexpected(cause)) from None
    except ray.exceptions.RayError:
        return LostUnit()
    return outcome


def _unexpected(cause: BaseException) -> str:
    kind = type(cause).__name__
    return f"a worker failed ({kind}); check that every machine has the same EchoApex and can reach the store"


def _as_function(work: Work) -> Callable[[Unit], Outcome]:
    """The work as the plain function that Ray wants; closures travel by value."""

    def ingest_unit(unit: Unit) -> Outcome:
        return work(unit)

    return ingest_unit


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise StoreError(
            "the engine ray needs the library Ray; install it with: pip install 'echoapex[ray]'"
        ) from error
