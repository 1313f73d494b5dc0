"""What every engine promises: units go out to workers, reports come back in the order of the units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from echoapex.data.ingest.plan import Unit
from echoapex.data.ingest.unit_work import UnitReport

Work = Callable[[Unit], UnitReport]
"""The work on one unit; it can be pickled."""


@dataclass(frozen=True)
class LostUnit:
    """A unit whose worker died each time it was tried."""


Outcome = UnitReport | LostUnit


class Engine(Protocol):
    """Runs the work on many units at once."""

    def run(self, work: Work, units: Iterable[Unit]) -> Iterator[tuple[Unit, Outcome]]:
        """Run ``work`` on every unit; ``units`` is drawn from as workers become free.

        A worker that dies (killed, out of memory, its machine gone) is replaced, and its unit tried again.

        Yields:
            Every unit with its report, or with ``LostUnit``, in the order of ``units`` however they finish.

        Raises:
            StoreError: the store cannot be written to; nothing more is started.
        """
        ...


class InlineEngine:
    """One unit after the other in this process: for notebooks, debugging and tests."""

    def run(self, work: Work, units: Iterable[Unit]) -> Iterator[tuple[Unit, Outcome]]:
        """See :class:`Engine`."""
        for unit in units:
            yield unit, work(unit.for_worker())
