"""Ray: a real cluster of two nodes on this machine gives what one process gives, also when a worker is killed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from drawn_studies import write_studies
from dying_workers import die_on, die_once, note_node, refuse
from ray_cluster import two_nodes
from stored_rows import file_rows, frame_rows

from echoapex.data.ingest.ingest import IngestPlan, ingest
from echoapex.data.ingest.plan import ArchiveKey, IngestRules, SourceFile, Unit, find_sources, plan_units
from echoapex.data.ingest.unit_work import IngestJob, Outcome, Work, ingest_unit
from echoapex.data.stores.frame_store_writer import StoreIdentity, StoreWriter
from echoapex.data.stores.place import StoreError, StorePlace
from echoapex.io.local_engine import EngineError, InlineEngine, LostUnit
from echoapex.io.ray_engine import RayEngine

pytest.importorskip("ray", reason="Ray is not installed; it comes with the extra ray")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with two_nodes() as found:
        yield found


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_studies(tmp_path_factory.mktemp("archive"), range(6), clips=1, frames=3)


@pytest.fixture
def plan(archive: Path, tmp_path: Path) -> IngestPlan:
    (tmp_path / "a.key").write_text("cd" * 32)
    return IngestPlan((archive,), tmp_path / "store", tmp_path / "a.key", IngestRules(size=48))


class OnRay:
    """Ray, its work wrapped."""

    def __init__(self, address: str, wrap: Callable[..., Any], *arguments: object) -> None:
        self._engine, self._wrap, self._arguments = RayEngine(address), wrap, arguments

    def run(self, work: Work, units: Iterable[Unit]) -> Iterator[tuple[Unit, Outcome]]:
        return self._engine.run(partial(self._wrap, *self._arguments, work), units)


@pytest.fixture
def expected(archive: Path, tmp_path: Path, plan: IngestPlan) -> Any:
    out = tmp_path / "expected"
    ingest(IngestPlan(plan.sources, out, plan.key, plan.rules), InlineEngine())
    return frame_rows(out), file_rows(out)


def stored(plan: IngestPlan) -> Any:
    return frame_rows(str(plan.out)), file_rows(str(plan.out))


def test_both_nodes_work_and_the_store_is_the_same(
    plan: IngestPlan, address: str, expected: Any, tmp_path: Path
) -> None:
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    ingest(plan, OnRay(address, note_node, nodes))
    assert len(list(nodes.iterdir())) == 2
    assert stored(plan) == expected


def test_a_killed_worker_is_replaced_and_nothing_changes(
    plan: IngestPlan, address: str, expected: Any, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    ingest(plan, OnRay(address, die_once, marker))
    assert marker.exists()
    assert stored(plan) == expected


def test_only_the_unit_that_kills_is_lost(address: str, archive: Path, tmp_path: Path) -> None:
    key = ArchiveKey(bytes(32))
    files = [item for item in find_sources([archive], key, "digest") if isinstance(item, SourceFile)]
    StoreWriter(StorePlace(tmp_path / "store"), StoreIdentity({}, ""))
    job = partial(ingest_unit, IngestJob(IngestRules(size=48), key.secret, str(tmp_path / "store")))
    found = OnRay(address, die_on, files[2].file).run(job, plan_units(files[:4]))
    assert [isinstance(outcome, LostUnit) for _, outcome in found] == [False, False, True, False]


def test_a_full_disk_on_any_machine_stops_everything(plan: IngestPlan, address: str) -> None:
    with pytest.raises(StoreError, match="no space left"):
        ingest(plan, OnRay(address, lambda work, unit: refuse(unit)))


def test_a_missing_cluster_and_a_missing_library_are_named(plan: IngestPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="--ray-address"):
        ingest(plan, RayEngine("no address at all"))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"echoapex\[ray\]"):
        ingest(plan, RayEngine())
