"""A cohort by many workers: the results of one process, whatever happens to the workers and to the run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cohort_workers
import psutil
import pytest
from cohort_workers import QUICK, DeadlyModels, OracleModels, analyze_cohort, save_oracle
from conftest import LabelledStudy
from ray_cluster import two_nodes

from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.outputs.dicom_files import DicomOutput
from echoapex.infer.outputs.report_files import ReportOutput
from echoapex.infer.study.analyze import AnalysisError, NamedInterpreter, StudyAnalyzer
from echoapex.infer.study.cohort import WORKER_DIED, CohortAnalyzer, WorkerModels
from echoapex.io.local_engine import InlineEngine, LocalEngine, LostUnit
from echoapex.io.ray_engine import RayEngine

SLOW = "ECHOAPEX_COHORT_TESTS"
slow = pytest.mark.skipif(SLOW not in os.environ, reason=f"slow: set {SLOW}=1 to run all tests of cohorts")


@pytest.fixture(scope="module")
def archive(labelled_study: LabelledStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labelled study, one of its clips in a zip archive, and a file that cannot be read."""
    folder = tmp_path_factory.mktemp("archive")
    for name in ("A4C.dcm", "PLAX.dcm"):
        shutil.copy(labelled_study.folder / name, folder / name)
    packed = tmp_path_factory.mktemp("packed")
    shutil.copy(labelled_study.folder / "A2C.dcm", packed / "A2C.dcm")
    shutil.make_archive(str(folder / "more"), "zip", packed)
    (folder / "cut.dcm").write_bytes((labelled_study.folder / "A4C.dcm").read_bytes()[:3000])
    return folder


@pytest.fixture(scope="module")
def oracle(labelled_study: LabelledStudy, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_oracle(labelled_study.oracle, tmp_path_factory.mktemp("oracle") / "oracle.pickle")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One map of names for all runs, so that a clip is called the same in each."""
    return tmp_path_factory.mktemp("names") / "names.json"


@pytest.fixture(scope="module")
def expected(
    labelled_study: LabelledStudy, archive: Path, names: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """All files of one process that analysed one clip after the other."""
    out = tmp_path_factory.mktemp("expected")
    StudyAnalyzer(NamedInterpreter(labelled_study.oracle, "oracle", "cpu"), QUICK).run([archive], out, names)
    return written(out)


def written(out: Path) -> dict[str, bytes]:
    """Every file of an output folder except the manifest, which tells the time."""
    files = [path for path in out.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def manifest_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return content


@pytest.mark.parametrize("workers", [pytest.param(1, marks=slow), 2])
def test_any_number_of_workers_writes_the_same_bytes(
    workers: int, archive: Path, oracle: str, names: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    loadings = tmp_path / "loadings"
    loadings.mkdir()
    out = tmp_path / "out"
    report = analyze_cohort(OracleModels(oracle, "cpu", "fp32", loadings), LocalEngine(workers), archive, out, names)
    assert written(out) == expected
    assert len(report.clips) == 3
    assert len(report.errors) == 1
    processes = [path.name.partition("-")[0] for path in loadings.iterdir()]
    assert len(processes) == len(set(processes)) <= workers, "each worker loads the weights once"
    manifest = manifest_of(out)
    assert manifest["complete"]
    assert {*written(out)} == {*manifest["files"]}
    assert len(manifest["seconds_by_clip"]) == 3


def test_dicom_objects_and_the_cohort_table_are_written_as_by_one_process(
    labelled_study: LabelledStudy, archive: Path, oracle: str, names: Path, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed; it comes with the extra dicom")
    one, many = tmp_path / "one", tmp_path / "many"
    named = NamedInterpreter(labelled_study.oracle, "oracle", "cpu")
    table = ReportOutput(cohort="csv")
    StudyAnalyzer(named, QUICK).run([archive], one, names, DicomOutput(reports=True, segmentations=True), table)
    dicom = DicomOutput(reports=True, segmentations=True)
    analyze_cohort(OracleModels(oracle, "cpu", "fp32"), InlineEngine(), archive, many, names, dicom, table)
    assert {path.name for path in (many / "dicom").iterdir()} == {path.name for path in (one / "dicom").iterdir()}
    assert (many / "cohort.csv").read_bytes() == (one / "cohort.csv").read_bytes()
    assert len((many / "cohort.csv").read_text().splitlines()) > 20


def test_a_killed_worker_is_replaced_and_nothing_is_lost_or_doubled(
    archive: Path, oracle: str, names: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    marker, out = tmp_path / "marker", tmp_path / "out"
    models = DeadlyModels(oracle, "cpu", "fp32", marker=marker)
    analyze_cohort(models, LocalEngine(2), archive, out, names)
    assert marker.exists()
    assert written(out) == expected


@slow
def test_a_clip_that_always_kills_its_worker_is_an_error_row(
    archive: Path, oracle: str, names: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = analyze_cohort(DeadlyModels(oracle, "cpu", "fp32"), LocalEngine(2), archive, out, names)
    assert len(report.clips) == 2
    with (out / "errors.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2
    (lost,) = [row for row in rows if row["reason"] == WORKER_DIED]
    assert lost["file"].startswith("clip-")
    assert "memory" in lost["remedy"]


class Losing:
    """An engine whose workers die on every second clip; real ones have their own tests."""

    def run(self, work: Any, units: Any) -> Any:
        for number, unit in enumerate(units):
            yield unit, LostUnit() if number % 2 else work(unit.for_worker())


def test_lost_clips_are_error_rows_and_the_next_run_completes_them(
    archive: Path, oracle: str, names: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    models = OracleModels(oracle, "cpu", "fp32")
    report = analyze_cohort(models, Losing(), archive, out, names)
    assert [row["reason"] for row in report.errors].count(WORKER_DIED) == 2
    analyze_cohort(models, InlineEngine(), archive, out, names)
    assert written(out) == expected


def test_a_second_run_takes_over_everything(
    archive: Path, oracle: str, names: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    for reused in (0, 3):
        analyze_cohort(OracleModels(oracle, "cpu", "fp32"), InlineEngine(), archive, tmp_path / "out", names)
        assert manifest_of(tmp_path / "out")["clips_reused"] == reused
        assert written(tmp_path / "out") == expected


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=slow), signal.SIGKILL])
def test_a_run_that_is_ended_goes_on_where_it_stopped(
    number: signal.Signals, archive: Path, oracle: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    names = tmp_path / "out.names.json"
    running = subprocess.Popen([sys.executable, cohort_workers.__file__, oracle, str(archive), str(out)])
    wait_until(lambda: len(list(out.glob("clips/*.json"))) > 0 or running.poll() is not None)
    assert running.poll() is None, "the run ended before it could be killed"
    workers = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(number)
    running.wait(60)
    wait_until(lambda: not any(process.is_running() for process in workers))
    finished = len(list(out.glob("clips/*.json")))
    assert 1 <= finished <= 3
    if number == signal.SIGTERM:
        assert manifest_of(out)["complete"] is False
        assert {*written(out)} == {*manifest_of(out)["files"]}, "clips that were finished ahead of their turn too"
    analyze_cohort(OracleModels(oracle, "cpu", "fp32"), InlineEngine(), archive, out, names)
    assert manifest_of(out)["clips_reused"] == finished
    assert manifest_of(out)["complete"]
    fresh = tmp_path / "fresh"
    analyze_cohort(OracleModels(oracle, "cpu", "fp32"), InlineEngine(), archive, fresh, names)
    assert written(out) == written(fresh), "nothing lost, nothing doubled, no unfinished file"


def test_no_room_stops_the_run_with_one_line(
    archive: Path, oracle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("echoapex.infer.study.analyze.write_record", full)
    with pytest.raises(AnalysisError, match="no room left"):
        analyze_cohort(OracleModels(oracle, "cpu", "fp32"), InlineEngine(), archive, tmp_path / "out")


def test_a_cohort_needs_a_folder(labelled_study: LabelledStudy, archive: Path, oracle: str) -> None:
    named = NamedInterpreter(labelled_study.oracle, "oracle", "cpu")
    analyzer = CohortAnalyzer(named, OracleModels(oracle, "cpu", "fp32"), InlineEngine(), QUICK)
    with pytest.raises(ValueError, match="output folder"):
        analyzer.run([archive])


@pytest.mark.skipif(SLOW not in os.environ, reason=f"slow: set {SLOW}=1 to load real weights in workers")
def test_real_weights_give_the_same_bytes_in_one_and_in_two_workers(
    labelled_study: LabelledStudy, names: Path, tmp_path: Path
) -> None:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        interpreter = TaskInterpreter.load("phantom", "cpu", "fp32")
        named = NamedInterpreter(interpreter, "phantom", "cpu")
        StudyAnalyzer(named, QUICK).run([labelled_study.folder], tmp_path / "one", names)
    finally:
        torch.set_num_threads(threads)
    for workers in (1, 2):
        out = tmp_path / str(workers)
        models = WorkerModels("phantom", "cpu", "fp32")
        CohortAnalyzer(named, models, LocalEngine(workers), QUICK).run([labelled_study.folder], out, names)
        assert written(out) == written(tmp_path / "one")


@slow
def test_two_ray_nodes_lose_and_double_nothing_when_a_worker_is_killed(
    archive: Path, oracle: str, names: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; it comes with the extra ray")
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    marker, out = tmp_path / "marker", tmp_path / "out"
    models = DeadlyModels(oracle, "cpu", "fp32", loadings=nodes, marker=marker)
    with two_nodes() as address:
        analyze_cohort(models, RayEngine(address), archive, out, names)
    assert marker.exists()
    assert len(list(nodes.iterdir())) >= 2, "both nodes and the replacement load the weights"
    assert written(out) == expected
    assert manifest_of(out)["complete"]


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
