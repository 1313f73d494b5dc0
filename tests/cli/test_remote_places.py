"""An analysis whose input and output lie in an object store: the same results as on this machine, and resumed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from conftest import LabelledStudy
from s3_server import S3ServerForTests

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.cli.remote_places import is_remote
from echoapex.infer.clip.models import TaskInterpreter

OPTIONS = ("--no-overlays", "--quiet", "--contours", "ed_es", "--device", "cpu")


@pytest.fixture
def perfect_models(labelled_study: LabelledStudy, monkeypatch: pytest.MonkeyPatch) -> LabelledStudy:
    """The command with models that know the phantom study."""
    monkeypatch.setattr(TaskInterpreter, "load", classmethod(lambda *_: labelled_study.oracle))
    return labelled_study


def test_a_study_in_a_bucket_to_results_in_a_bucket(
    perfect_models: LabelledStudy, s3: S3ServerForTests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    s3.put("in/study/PLAX.dcm", (perfect_models.folder / "PLAX.dcm").read_bytes())
    names = tmp_path / "names.json"
    there = ["analyze", "s3://bucket/in/study", "--out", "s3://bucket/out", "--names", str(names), *OPTIONS]
    assert run([*there, "--dicom-sr"]) == ExitCode.ALL_GOOD
    here = ["analyze", str(perfect_models.folder / "PLAX.dcm"), "--out", str(tmp_path / "o"), "--names", str(names)]
    assert run([*here, *OPTIONS]) == ExitCode.ALL_GOOD
    assert s3.get("out/results.json") == (tmp_path / "o" / "results.json").read_bytes()
    assert s3.get("out/measurements.csv") == (tmp_path / "o" / "measurements.csv").read_bytes()
    assert any(key.startswith("out/dicom/") for key in s3.keys("out/"))
    # the same command takes the clip over, and what is no longer asked for goes
    assert run(there) == ExitCode.ALL_GOOD
    assert json.loads(s3.get("out/manifest.json"))["clips_reused"] == 1
    assert not any(key.startswith("out/dicom/") for key in s3.keys("out/"))
    assert not any("names" in key for key in s3.keys("out"))
    assert not list(temporary.rglob("*.dcm")), "what was fetched is deleted"


def test_what_was_finished_is_in_the_store_when_a_run_is_interrupted(
    perfect_models: LabelledStudy, s3: S3ServerForTests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = perfect_models.oracle.classify_view
    calls = 0

    def interrupt(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise KeyboardInterrupt
        return views(*arguments, **options)

    names = ["--names", str(tmp_path / "names.json")]
    there = ["analyze", str(perfect_models.folder), "--out", "s3://bucket/half", *names, *OPTIONS]
    with monkeypatch.context() as patch:
        patch.setattr(perfect_models.oracle, "classify_view", interrupt, raising=False)
        assert run(there) == ExitCode.INTERRUPTED
    assert json.loads(s3.get("half/manifest.json"))["complete"] is False
    assert run(there) == ExitCode.ALL_GOOD
    manifest = json.loads(s3.get("half/manifest.json"))
    assert (manifest["complete"], manifest["clips_reused"], manifest["clips_analysed"]) == (True, 1, 3)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["s3://bucket/nothing", "--out", "o"], "there is nothing at this address"),
        (["s3://no-such-bucket/x", "--out", "o"], "there is nothing at this address"),
        (["s3://bucket/x", "--out", "s3://bucket/y"], "--names FILE"),
        (["s3://bucket/x"], "--out"),
        (["s3://bucket/x", "--out", "dicomweb://host/studies/1"], "not to a DICOMweb server"),
        (
            [__file__, "--out", "s3://b/o", "--names", "n", "--engine", "ray", "--ray-address", "h:1"],
            "all its machines share",
        ),
        (["nothere", "--out", "s3://bucket/y", "--names", "n"], "nothere: does not exist"),
    ],
)
def test_a_mistake_is_one_line(
    s3: S3ServerForTests, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["analyze", *arguments]) in (ExitCode.USAGE, ExitCode.NOTHING_ANALYSED)
    (told,) = capsys.readouterr().err.splitlines()
    assert line in told


def test_what_lies_elsewhere() -> None:
    assert is_remote(Path("s3://b/x")) and is_remote(Path("dicomweb://h/studies/1"))
    assert not is_remote(Path("study")) and not is_remote(None)
