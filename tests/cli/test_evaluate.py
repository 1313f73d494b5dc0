"""``echoapex evaluate``: from files to metrics.json, with written results and with an analysis of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from reference_studies import write_camus_archive
from tiny_clip_folder import write_tiny_clip_folder
from tiny_echonet_dynamic import write_tiny_echonet_dynamic
from tiny_echonet_lvh import write_tiny_echonet_lvh
from tiny_tmed2 import write_tiny_tmed2
from written_results import write_results

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.cli.evaluate import DatasetName
from echoapex.data.datasets import DATASETS
from echoapex.domain import ViewPrediction
from echoapex.evaluate.metrics_file import MetricsFile
from echoapex.evaluate.truth import read_phantom_reference
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.phantom.study import StudyPlan, write_study
from echoapex.phantom.truth import FIRST_HELD_OUT_SEED
from echoapex.vocabulary import Structure, View


@dataclass(frozen=True)
class Estimate:
    ef_percent: float
    interval: tuple[float, float]
    relative_volume: np.ndarray


class OneAnswer:
    """Models that see the same heart in every clip: an A4C with a disc of LV."""

    input_size = 64

    def __init__(self) -> None:
        self.digests = {"one answer": "0" * 64}
        self.encoded = 0

    def encode(self, pixels: np.ndarray, times_s: Sequence[float]) -> np.ndarray:
        self.encoded += 1
        return pixels

    def classify_view(self, _pixels: Any) -> ViewPrediction:
        return ViewPrediction({view: float(view is View.A4C) for view in View})

    def segment(self, _pixels: Any, rows: Sequence[int], structures: Sequence[Structure]) -> Iterator[Any]:
        y, x = np.mgrid[:64, :64]
        disc = ((x - 32) ** 2 + (y - 32) ** 2 < 144).astype(np.float32)
        masks = np.stack([disc if structure is Structure.LV_CAVITY else 0 * disc for structure in structures])
        for row in rows:
            yield row, masks, np.full(len(structures), 0.9)

    def find_wall_points(self, _pixels: Any, rows: Sequence[int]) -> list[Any]:
        return [(row, np.array([[32, 10], [32, 14], [32, 40], [32, 44]], float), np.ones(4)) for row in rows]

    def estimate_ejection_fraction(self, pixels: Any) -> Estimate:
        phase = np.linspace(0, 2 * np.pi, len(pixels))
        return Estimate(50.0, (40.0, 60.0), 0.75 + 0.25 * np.cos(phase))


@pytest.fixture()
def models(monkeypatch: pytest.MonkeyPatch) -> OneAnswer:
    answer = OneAnswer()
    monkeypatch.setattr(TaskInterpreter, "load", lambda *_arguments: answer)
    return answer


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("studies")
    plan = StudyPlan((View.A4C, View.PSAX_PM), 112)
    for number in range(2):
        write_study(root / str(number), FIRST_HELD_OUT_SEED + number, plan)
    return root


def evaluate(dataset: str, root: Path, out: Path, *options: str) -> int:
    arguments = ["--dataset", dataset, "--root", str(root), "--out", str(out), "--quiet", *options]
    return run(["evaluate", *arguments])


def read_metrics(out: Path) -> MetricsFile:
    return MetricsFile.model_validate_json((out / "metrics.json").read_bytes())


def test_written_results_are_scored(studies: Path, tmp_path: Path) -> None:
    for study in read_phantom_reference(studies).studies:
        write_results(tmp_path / "results" / study.patient, study)
    code = evaluate(
        "phantom", studies, tmp_path / "out", "--predictions", str(tmp_path / "results"), "--baseline-patients", "3"
    )
    assert code == ExitCode.ALL_GOOD
    metrics = read_metrics(tmp_path / "out")
    assert metrics.views.balanced_accuracy.value == 1
    assert metrics.views.baseline_pixels.n == 4
    assert metrics.segmentation.lv_cavity.dice.value == 1
    assert metrics.ejection_fraction.mae.value == 0
    raw = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert raw["segmentation"]["right_atrium"]["dice"]["value"] == 1
    assert (tmp_path / "out" / "cases.csv").read_text().startswith("patient,clip,frame")


def test_a_missing_study_shows_in_numbers_and_exit_code(studies: Path, tmp_path: Path) -> None:
    first = read_phantom_reference(studies).studies[0]
    write_results(tmp_path / "results", first)
    options = ("--predictions", str(tmp_path / "results"), "--baseline-patients", "0")
    assert evaluate("phantom", studies, tmp_path / "out", *options) == ExitCode.SOME_FILES_FAILED
    metrics = read_metrics(tmp_path / "out")
    assert metrics.studies_without_results == 1
    assert metrics.segmentation.lv_cavity.dice.value == 0.5


def test_phantoms_are_analysed_then_scored(studies: Path, tmp_path: Path, models: OneAnswer) -> None:
    assert evaluate("phantom", studies, tmp_path, "--baseline-patients", "0") == ExitCode.ALL_GOOD
    metrics = read_metrics(tmp_path)
    assert metrics.bundles == models.digests
    assert metrics.views.recall[View.A4C].value == 1
    assert metrics.views.recall[View.PSAX_PM].value == 0
    assert metrics.views.balanced_accuracy.value == 0.5
    assert metrics.ejection_fraction.mae.n == 2
    assert 0 < (metrics.segmentation.lv_cavity.dice.value or 0) < 0.9
    analysed = models.encoded
    assert evaluate("phantom", studies, tmp_path, "--baseline-patients", "0") == ExitCode.ALL_GOOD
    assert models.encoded == analysed, "finished studies are taken over"


def test_camus_is_packed_analysed_and_scored(tmp_path: Path, models: OneAnswer) -> None:
    root = tmp_path / "camus"
    root.mkdir()
    write_camus_archive(root)
    assert evaluate("camus", root, tmp_path / "out") == ExitCode.ALL_GOOD
    metrics = read_metrics(tmp_path / "out")
    assert (metrics.dataset, metrics.split) == ("camus", "val")
    assert metrics.views.given
    assert metrics.views.balanced_accuracy.n == 0
    assert set(metrics.segmentation.lv_cavity.by_view) == {View.A4C, View.A2C}
    assert metrics.segmentation.lv_cavity.dice.missing == 0
    assert metrics.segmentation.left_atrium.dice.value == 0
    assert metrics.segmentation.right_ventricle.dice.n == 0
    assert evaluate("camus", root, tmp_path / "out", "--views", "find") == ExitCode.ALL_GOOD
    found = read_metrics(tmp_path / "out").views
    assert (found.given, found.recall[View.A4C].value, found.recall[View.A2C].value) == (False, 1, 0)


def test_every_data_set_that_is_read_can_be_named() -> None:
    assert set(get_args(DatasetName)) == {"phantom", *DATASETS}


def test_clips_with_given_views_are_one_study(tmp_path: Path, models: OneAnswer) -> None:
    write_study(tmp_path / "study", FIRST_HELD_OUT_SEED, StudyPlan((View.A4C, View.A2C), 112))
    assert evaluate("phantom", tmp_path / "study", tmp_path / "out", "--views", "given") == ExitCode.ALL_GOOD
    metrics = read_metrics(tmp_path / "out")
    assert metrics.views.given
    assert (metrics.ejection_fraction.mae.n, metrics.ejection_fraction.mae.missing) == (1, 0)


def test_videos_are_analysed_as_they_are_and_scored_on_their_traced_frames(tmp_path: Path, models: OneAnswer) -> None:
    write_tiny_echonet_dynamic(tmp_path / "echonet")
    out = tmp_path / "out"
    assert evaluate("echonet-dynamic", tmp_path / "echonet", out, "--split", "train") == ExitCode.ALL_GOOD
    metrics = read_metrics(out)
    assert (metrics.dataset, metrics.split, metrics.studies) == ("echonet_dynamic", "TRAIN", 2)
    assert metrics.views.given
    assert metrics.ejection_fraction.mae.n == 2
    assert (metrics.segmentation.lv_cavity.dice.n, metrics.segmentation.lv_cavity.dice.missing) == (4, 0)
    assert "FileList.csv" in metrics.ejection_fraction.reference


def test_walls_are_measured_with_the_recovered_spacing(tmp_path: Path, models: OneAnswer) -> None:
    write_tiny_echonet_lvh(tmp_path / "lvh")
    assert evaluate("echonet_lvh", tmp_path / "lvh", tmp_path / "out") == ExitCode.ALL_GOOD
    metrics = read_metrics(tmp_path / "out")
    for wall in (metrics.lv_wall.ivsd, metrics.lv_wall.lvidd, metrics.lv_wall.lvpwd):
        assert (wall.mae_mm.n, wall.mae_mm.missing) == (1, 0)
    assert any("recovered" in note for note in metrics.notes)


def test_still_images_are_scored_by_view(tmp_path: Path, models: OneAnswer) -> None:
    write_tiny_tmed2(tmp_path / "tmed2")
    assert evaluate("tmed2", tmp_path / "tmed2", tmp_path / "out", "--split", "all") == ExitCode.ALL_GOOD
    views = read_metrics(tmp_path / "out").views
    assert {view: score.n for view, score in views.recall.items()} == {View.A4C: 1, View.A2C: 1, View.PLAX: 2}
    assert views.balanced_accuracy.value == pytest.approx(1 / 3)


def test_own_clips_are_scored_in_millilitres(tmp_path: Path, models: OneAnswer) -> None:
    write_tiny_clip_folder(tmp_path / "mine")
    assert evaluate("folder", tmp_path / "mine", tmp_path / "out") == ExitCode.ALL_GOOD
    metrics = read_metrics(tmp_path / "out")
    assert metrics.views.balanced_accuracy.value == 1
    assert metrics.ejection_fraction.mae.n == 3
    assert metrics.volumes["edv"].mae_ml.n + metrics.volumes["edv"].mae_ml.missing == 3


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("echonet_dynamic", (), "holds no FileList.csv"),
        ("folder", (), "holds no clips.csv"),
        ("phantom", (), "holds no phantom study"),
        ("phantom", ("--split", "val"), "'train' and 'held_out'"),
        ("camus", (), "neither camus224.npz"),
        ("chestxray", (), "chestxray"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dataset: str, options: tuple[str, ...], message: str
) -> None:
    assert evaluate(dataset, tmp_path, tmp_path / "out", *options) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_an_unknown_bundle_is_named(studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("phantom", studies, tmp_path, "--bundle", "nonesuch") == ExitCode.USAGE
    assert "nonesuch" in capsys.readouterr().err
