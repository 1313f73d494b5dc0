"""Real peers for the node: Orthanc, the tools of DCMTK, PostgreSQL, each started by the tests on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from node_process import RunningNode
from real_peers import Orthanc, PostgresServer, free_port, orthanc_program, postgres_programs

from echoapex.phantom.study import StudyPlan, write_study
from echoapex.vocabulary import View

SEED = 1_000_021


@pytest.fixture(scope="session")
def echo_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom study of two clips as DICOM files."""
    folder = tmp_path_factory.mktemp("study")
    write_study(folder, SEED, StudyPlan(views=(View.A4C, View.PLAX), size=128))
    return folder


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """Starts Orthanc; skips where it is not installed."""
    if orthanc_program() is None:
        pytest.skip("Orthanc is not installed (Debian: orthanc orthanc-dicomweb)")
    started: list[Orthanc] = []

    def start(**options: object) -> Orthanc:
        started.append(Orthanc(tmp_path / f"orthanc-{len(started)}", **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., RunningNode]]:
    """Starts `echoapex listen` as a process of its own."""
    started: list[RunningNode] = []

    def start(**settings: object) -> RunningNode:
        started.append(RunningNode(tmp_path / "node", free_port(), settings))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """PostgreSQL on a port of its own; skips where it is not installed."""
    if postgres_programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    server = PostgresServer()
    yield server
    server.stop()
