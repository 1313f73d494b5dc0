"""Real peers for the node, started by the tests on loopback: Orthanc and PostgreSQL; and what a node is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from node_process import RunningNode
from node_workplace import Workplace
from pydicom import dcmread
from real_peers import Orthanc, PostgresServer, free_port, orthanc_program, postgres_programs
from small_echo import write_small_study

from echoapex.serve.database import Database
from echoapex.serve.ledger import ResultObject
from echoapex.serve.node_config import AnalysisSettings, NodeConfig
from echoapex.serve.results import ResultMaker
from echoapex.serve.studies import StudyInput
from echoapex.serve.worker import NodeParts


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One short clip of one patient."""
    return write_small_study(tmp_path_factory.mktemp("small"))


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """Starts Orthanc; skips where it is not installed."""
    if orthanc_program() is None:
        pytest.skip("Orthanc is not installed (Debian: orthanc orthanc-dicomweb)")
    started: list[Orthanc] = []

    def start(**options: Any) -> Orthanc:
        started.append(Orthanc(tmp_path / f"orthanc-{len(started)}", **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., RunningNode]]:
    """Starts `echoapex listen` as a process of its own."""
    started: list[RunningNode] = []

    def start(**settings: Any) -> RunningNode:
        port = settings.pop("port", None) or free_port()
        started.append(RunningNode(tmp_path / "node", port, settings))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """PostgreSQL on a port of its own; skips where it is not installed."""
    if postgres_programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    return str(request.getfixturevalue("postgres").new_database())


@pytest.fixture(scope="session")
def made_results(small_study: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[ResultObject]:
    """The objects of a real analysis of the small study."""
    maker = ResultMaker(AnalysisSettings(contours="ed_es", precision="fp32"), tmp_path_factory.mktemp("made"))
    study_uid = str(dcmread(small_study[0], stop_before_pixels=True).StudyInstanceUID)
    results, _ = maker.make(study_uid, StudyInput("key", "0" * 64, tuple(small_study)), lambda: None)
    return results


@pytest.fixture
def workplace(tmp_path: Path, made_results: list[ResultObject]) -> Callable[..., Workplace]:
    """Makes the parts of a node in this process, with SQLite."""

    def make(**settings: Any) -> Workplace:
        values = {
            "data": tmp_path / "data", "port": 0, "accept_from": ["SENDER", "ORTHANC"], "limits": {"free_mb": 1},
            "retry": {"attempts": 3, "first_s": 0.05, "longest_s": 0.1}, **settings,
        }  # fmt: skip
        config = NodeConfig.model_validate(values)
        config.data.mkdir(exist_ok=True)
        Database(config.database_url).migrate()
        return Workplace(NodeParts.open(config), made_results)

    return make
