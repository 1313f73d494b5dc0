"""The process pool: reports in order, dead workers replaced, the culprit found."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from drawn_studies import write_studies
from dying_workers import die_on, die_once, read_environment, refuse

from echoapex.data.ingest.plan import ArchiveKey, IngestRules, SourceFile, Unit, find_sources, plan_units
from echoapex.data.ingest.unit_work import IngestJob, UnitReport, ingest_unit
from echoapex.data.stores.frame_store_writer import StoreIdentity, StoreWriter
from echoapex.data.stores.place import StoreError, StorePlace
from echoapex.io.local_engine import InlineEngine, LocalEngine, LostUnit

KEY = ArchiveKey(bytes(range(32)))


@pytest.fixture
def job(tmp_path: Path) -> partial[UnitReport]:
    StoreWriter(StorePlace(tmp_path / "store"), StoreIdentity({}, ""))
    return partial(ingest_unit, IngestJob(IngestRules(size=32), KEY.secret, str(tmp_path / "store")))


@pytest.fixture
def units(tmp_path: Path) -> list[Unit]:
    write_studies(tmp_path / "archive", range(4), clips=1, frames=2)
    files = find_sources([tmp_path / "archive"], KEY, "digest")
    return list(plan_units(file for file in files if isinstance(file, SourceFile)))


def test_a_killed_worker_is_replaced_and_nothing_changes(
    tmp_path: Path, job: partial[UnitReport], units: list[Unit]
) -> None:
    expected = [report.records for _, report in InlineEngine().run(job, units) if isinstance(report, UnitReport)]
    marker = tmp_path / "marker"
    found = list(LocalEngine(2).run(partial(die_once, marker, job), units))
    assert marker.exists()
    assert [unit.number for unit, _ in found] == [0, 1, 2, 3]
    assert [report.records for _, report in found if isinstance(report, UnitReport)] == expected


def test_workers_see_the_environment_as_it_is_now(units: list[Unit], monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that forks them keeps the one it was started in, perhaps before credentials of a storage were set."""
    for value in ("before", "after"):
        monkeypatch.setenv("ECHOAPEX_TEST_ADDRESS", value)
        found = list(LocalEngine(1).run(partial(read_environment, "ECHOAPEX_TEST_ADDRESS"), units[:1]))
        assert [outcome for _, outcome in found] == [value]


def test_only_the_unit_that_kills_is_lost(job: partial[UnitReport], units: list[Unit]) -> None:
    culprit = units[2].files[0].file
    found = list(LocalEngine(2).run(partial(die_on, culprit, job), units))
    assert [isinstance(outcome, LostUnit) for _, outcome in found] == [False, False, True, False]


def test_a_store_that_cannot_be_written_stops_everything(units: list[Unit]) -> None:
    with pytest.raises(StoreError, match="no space left"):
        list(LocalEngine(1).run(refuse, units))


def test_units_are_drawn_as_they_are_needed_and_no_process_stays(job: partial[UnitReport], units: list[Unit]) -> None:
    drawn = []

    def endless() -> Iterator[Unit]:
        while True:
            drawn.append(1)
            yield units[0]

    running = LocalEngine(1).run(job, endless())
    next(running)
    assert 1 <= len(drawn) <= 8
    running.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _workers():
        time.sleep(0.05)
    assert not _workers()


def _workers() -> list[psutil.Process]:
    """Children of the fork server of this process."""
    found = []
    for child in psutil.Process().children():
        # another test's child may end meanwhile; what has ended is no fork server
        with suppress(psutil.NoSuchProcess):
            if "forkserver" in " ".join(child.cmdline()):
                found += child.children()
    return found
