"""``echoapex transfer``: several sets of weights on several data sets as one table."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.test_evaluate import OneAnswer
from tiny_clip_folder import write_tiny_clip_folder
from tiny_tmed2 import write_tiny_tmed2

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.evaluate.transfer import TransferFile
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.models.registry import default_set
from echoapex.vocabulary import Application


@pytest.fixture()
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The sets that were loaded, all of one answer."""
    names: list[str] = []

    def load(place: str, _device: str, _precision: str) -> OneAnswer:
        names.append(place)
        return OneAnswer()

    monkeypatch.setattr(TaskInterpreter, "load", load)
    yield names


def transfer(out: Path, bundles: list[str], datasets: list[str]) -> int:
    options = [
        option for name, values in (("--bundle", bundles), ("--dataset", datasets)) for option in (name, *values)
    ]
    return run(["transfer", *options, "--out", str(out), "--quiet"])


def test_every_set_meets_every_data_set(tmp_path: Path, loaded: list[str]) -> None:
    write_tiny_clip_folder(tmp_path / "mine")
    write_tiny_tmed2(tmp_path / "tmed2")
    shipped = str(default_set().directory)
    out = tmp_path / "out"
    sets, data = ["phantom", f"again={shipped}"], [f"folder={tmp_path / 'mine'}", f"tmed2:all={tmp_path / 'tmed2'}"]
    assert transfer(out, sets, data) == ExitCode.ALL_GOOD
    assert loaded == ["phantom", shipped] * 2
    table = TransferFile.model_validate_json((out / "transfer.json").read_bytes())
    views = {
        (each.bundle, each.dataset): each.score for each in table.scores if each.metric == "view, balanced accuracy"
    }
    assert set(views) == {(name, title) for name in ("phantom", "again") for title in ("folder", "tmed2 all")}
    assert views["phantom", "folder"].value == 1
    assert views["again", "tmed2 all"].value == pytest.approx(1 / 3)
    assert not [each for each in table.scores if each.dataset == "tmed2 all" and each.metric.startswith("EF")]
    assert any("PSAX" in note for note in table.notes["tmed2 all"])
    assert table.training_data["again"][Application.SEGMENTATION]
    rows = list(csv.DictReader((out / "transfer.csv").read_text().splitlines()))
    assert len(rows) == len(table.scores)
    page = (out / "transfer.md").read_text().splitlines()
    assert page[0] == "| data set | score | phantom | again |"
    assert any(line.startswith("| folder | EF, MAE (points) | ") and "n 3" in line for line in page)
    assert (out / "folder" / "again" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("bundles", "datasets", "message"),
    [
        (["phantom"], ["chestxray=x"], "no data set 'chestxray'"),
        (["phantom"], ["camus"], "no folder is given"),
        (["phantom"], ["folder=nowhere"], "holds no clips.csv"),
        (["nonesuch"], ["folder=nowhere"], "nonesuch"),
        (["a/bundles", "b/a/bundles"], ["folder=nowhere"], "two sets are called a"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_analysed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bundles: list[str], datasets: list[str], message: str
) -> None:
    assert transfer(tmp_path, bundles, datasets) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
