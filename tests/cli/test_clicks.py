"""``echoapex clicks``: from files to clicks.json, with tiny random weights."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import LabelledStudy
from reference_studies import write_camus_archive
from tiny_tasks import build_tasks, save_set

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.evaluate.click_scores import ClicksFile


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_set(build_tasks(), tmp_path_factory.mktemp("sets") / "tiny")


def ask(dataset: str, root: Path, out: Path, bundle: Path, *options: str) -> int:
    arguments = ["--dataset", dataset, "--root", str(root), "--out", str(out), "--bundle", str(bundle)]
    return run(["clicks", *arguments, "--device", "cpu", "--clicks", "3", *options])


def read(out: Path) -> ClicksFile:
    return ClicksFile.model_validate_json((out / "clicks.json").read_bytes())


def test_phantoms_are_clicked_on_and_followed(
    labelled_study: LabelledStudy, tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("phantom", labelled_study.folder, tmp_path, bundle, "--images", "1") == ExitCode.ALL_GOOD
    scores = read(tmp_path)
    assert (scores.dataset, scores.images, scores.patients, scores.refinement) == ("phantom", 1, 1, "merged")
    assert scores.following is not None
    assert scores.following.automatic_dice.n >= 1
    assert len(scores.overall.from_name.curve) == 4
    assert scores.overall.name.value == pytest.approx(scores.overall.from_name.curve[0], abs=1e-6)
    assert sorted(scores.bundles) == ["tiny/encoder", "tiny/segmentation"]
    assert "NoC90" in capsys.readouterr().err
    figure = ET.fromstring((tmp_path / "clicks.svg").read_text())
    assert len(figure.findall("{http://www.w3.org/2000/svg}polyline")) == 3 + len(scores.structures)
    assert (tmp_path / "click_cases.csv").read_text().startswith("patient,clip,view,frame,structure")


def test_camus_is_asked_about_without_following(tmp_path: Path, bundle: Path) -> None:
    root = tmp_path / "camus"
    root.mkdir()
    write_camus_archive(root)
    assert ask("camus", root, tmp_path / "out", bundle, "--quiet", "--images", "2") == ExitCode.ALL_GOOD
    scores = read(tmp_path / "out")
    assert (scores.split, scores.images, scores.following) == ("val", 2, None)
    assert set(scores.structures) == {"lv_cavity", "left_atrium"}


@pytest.mark.parametrize(("dataset", "message"), [("phantom", "holds no phantom study"), ("camus", "neither camus224")])
def test_mistakes_are_one_line(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str], dataset: str, message: str
) -> None:
    assert ask(dataset, tmp_path, tmp_path / "out", bundle) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_an_unknown_bundle_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("phantom", tmp_path, tmp_path, Path("nonesuch")) == ExitCode.USAGE
    assert "nonesuch" in capsys.readouterr().err
