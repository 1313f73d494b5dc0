"""``echoapex curate``: a selection, tables and a picture; an encoder pretrained by them; mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest
from drawn_studies import write_studies
from tiny_recipes import StartingPoint, as_arguments, shrink

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.curation import frame_embedder
from echoapex.data.ingest.ingest import IngestPlan, ingest
from echoapex.data.ingest.plan import IngestRules
from echoapex.io.local_engine import InlineEngine
from echoapex.models.bundle import verify_bundle
from echoapex.train.journal import read_journal

pytest.importorskip("lance", reason="Lance is not installed; it comes with the extra ingest")

WRITTEN = {"before_after.csv", "before_after.png", "curation.json", "embedded", "selection.safetensors"}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of drawn clips, and one of which no patient is for training."""
    folder = tmp_path_factory.mktemp("ingested")
    write_studies(folder / "studies", [1, 2, 3], clips=1, frames=4)
    for name, val_percent in (("frames", 0.0), ("empty", 100.0)):
        rules = IngestRules(size=96, val_percent=val_percent)
        ingest(IngestPlan((folder / "studies",), folder / name, folder / f"{name}.key", rules), InlineEngine())
    return folder / "frames"


def curate(*arguments: object) -> int:
    return run(["curate", *map(str, arguments), "--device", "cpu"])


@pytest.fixture(scope="module")
def curated(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("curated") / "out"
    assert curate(frames, "--out", out, "--quiet") == ExitCode.ALL_GOOD
    return out


def test_everything_is_written_and_told(frames: Path, curated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {path.name for path in curated.iterdir()} == WRITTEN
    assert curate(frames, "--out", curated) == ExitCode.ALL_GOOD
    told = capsys.readouterr()
    assert told.out == ""
    said = " ".join(told.err.split())
    assert "view frames before after" in said
    assert "12 frames of 3 clips; left out: none; visited: 12" in said


@pytest.mark.parametrize("as_json", [False, True])
def test_an_encoder_is_pretrained_by_the_selection(
    as_json: bool, frames: Path, curated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copytree(frames, "frames")
    copytree(curated, "curated")
    overrides = shrink("pretrain_tiny_cpu", StartingPoint(tmp_path, tmp_path))
    overrides["task"] |= {"archives": ["frames"], "curation": {"frames": "curated"}}
    arguments = list(as_arguments(overrides))
    if as_json:
        place = arguments.index("--task.curation.frames")
        arguments[place : place + 2] = ["--task.curation", json.dumps({"frames": "curated"})]
    assert run(["pretrain", "pretrain_tiny_cpu", *arguments, "--out", "runs/own", "--quiet"]) == ExitCode.ALL_GOOD
    assert verify_bundle(Path("runs/own/bundles/encoder")).kind == "encoder"
    assert read_journal(Path("runs/own/journal.jsonl"))


def test_a_selection_of_another_store_is_refused_by_pretraining(
    frames: Path, curated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_studies(tmp_path / "studies", [7], clips=1, frames=2)
    rules = IngestRules(size=96, val_percent=0)
    ingest(IngestPlan((tmp_path / "studies",), tmp_path / "other", tmp_path / "a.key", rules), InlineEngine())
    overrides = shrink("pretrain_tiny_cpu", StartingPoint(tmp_path, tmp_path))
    overrides["task"]["archives"] = [str(tmp_path / "other")]
    arguments = [*as_arguments(overrides), "--task.curation", json.dumps({str(tmp_path / "other"): str(curated)})]
    out = str(tmp_path / "runs" / "run")
    assert run(["pretrain", "pretrain_tiny_cpu", *arguments, "--out", out]) == ExitCode.USAGE
    assert "was made for other frames (12, this store has 2)" in capsys.readouterr().err


def test_interrupted_it_says_so_and_goes_on(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: frame_embedder.ShardEmbedder, places: range) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(frame_embedder.ShardEmbedder, "__call__", interrupted)
        assert curate(frames, "--out", tmp_path / "out") == ExitCode.INTERRUPTED
    assert "the same command goes on" in capsys.readouterr().err
    assert curate(frames, "--out", tmp_path / "out", "--quiet") == ExitCode.ALL_GOOD
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN


def test_options_reach_the_rules(frames: Path, curated: Path) -> None:
    options = ("--clusters", 3, 2, "--balance", "view", "probe", "--no-colour", "--most-weight", 2, "--seed", 5)
    assert curate(frames, "--out", curated, *options, "--quiet") == ExitCode.ALL_GOOD
    report = (curated / "curation.json").read_text()
    for words in ('"clusters": [\n   3,\n   2\n  ]', '"view",\n   "probe"', '"colour": false', '"seed": 5'):
        assert words in report
    assert curate(frames, "--out", curated, "--quiet") == ExitCode.ALL_GOOD


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "nowhere: holds no frame store; make one with echoapex ingest"),
        (("{empty}",), "empty: holds no frames of training patients; ingest an archive into it first"),
        (("{frames}", "--bundle", "unheard-of"), "unheard-of: no such set of bundles"),
        (("{frames}", "--clusters", "2", "8"), "from the finest level to the coarsest"),
        (("{frames}", "--balance", "view", "view"), "balance names something twice"),
        (("{frames}", "--balance", "colour"), "balance"),
        (("{frames}", "--most-weight", "0.5"), "most-weight"),
        (("{frames}", "--frames-per-clip", "0"), "frames-per-clip"),
        (("{frames}", "--least-quality", "1"), "no frame is left; lower --least-quality"),
        ((), "--store requires an argument"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...], words: str, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"frames": frames, "empty": frames.parent / "empty"}
    assert curate(*(word.format(**places) for word in arguments), "--out", tmp_path / "out") == ExitCode.USAGE
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "selection.safetensors").exists()


def test_an_out_that_cannot_be_written_is_one_line(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert curate(frames, "--out", tmp_path / "file") == ExitCode.USAGE
    assert "cannot be written" in capsys.readouterr().err
