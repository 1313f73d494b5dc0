"""A person's way through ``analyze``: a mixed, partly broken study of a named patient, to documented output."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from conftest import LabelledStudy

import echoapex
from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.domain import StudyReport
from echoapex.infer.clip.models import TaskInterpreter

SECRETS = ("Quillfeather", "Araminta", "PID-77-4411", "19510203", "ACC-90210", "Dr^Wolpertinger")


@pytest.fixture
def named_study(labelled_study: LabelledStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The phantom study under a patient's name, in the header and in the names of files and folder, with bad files."""
    monkeypatch.setattr(TaskInterpreter, "load", classmethod(lambda *_: labelled_study.oracle))
    study = tmp_path / "Quillfeather_Araminta"
    study.mkdir()
    for name in ("A4C", "PLAX"):
        dataset = pydicom.dcmread(labelled_study.folder / f"{name}.dcm")
        dataset.PatientName = "Quillfeather^Araminta"
        dataset.PatientID = "PID-77-4411"
        dataset.PatientBirthDate = "19510203"
        dataset.AccessionNumber = "ACC-90210"
        dataset.ReferringPhysicianName = "Dr^Wolpertinger"
        dataset.save_as(study / f"Quillfeather_{name}.dcm")
    (study / "Quillfeather_cut.dcm").write_bytes((study / "Quillfeather_A4C.dcm").read_bytes()[:900])
    (study / "empty.avi").touch()
    (study / "readme.txt").write_text("Quillfeather")
    cv2.imwrite(str(study / "blank.png"), np.zeros((200, 300), np.uint8))
    return study


def everything_in(folder: Path) -> bytes:
    """All bytes and names below a folder, archives unpacked."""
    parts: list[bytes] = []
    for path in sorted(folder.rglob("*")):
        parts.append(str(path.relative_to(folder)).encode())
        if path.is_file():
            parts.append(path.read_bytes())
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    parts += [name.encode() + archive.read(name) for name in archive.namelist()]
    return b"\n".join(parts)


def test_a_study_with_bad_files_is_done_but_for_those(
    named_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code = run(["analyze", str(named_study), "--out", str(out)])
    assert code == ExitCode.SOME_FILES_FAILED
    report = StudyReport.model_validate_json((out / "results.json").read_bytes())
    assert report.ef is not None
    assert report.ef.evidence
    assert {clip.set_aside != "" for clip in report.clips} == {True, False}
    with (out / "errors.csv").open(newline="") as file:
        failed = list(csv.DictReader(file))
    assert len(failed) == 2
    assert all(row["reason"] and row["remedy"] for row in failed)
    names = {path.name for path in out.iterdir()}
    assert names == {
        "results.json",
        "measurements.csv",
        "preview.png",
        "errors.csv",
        "manifest.json",
        "masks",
        "overlays",
        "clips",
    }
    console = capsys.readouterr()
    found = everything_in(out) + console.out.encode() + console.err.encode()
    for secret in SECRETS:
        for form in (secret, secret.lower(), secret.upper()):
            assert form.encode() not in found, f"{form} is in the output"


def test_identifiers_are_kept_only_when_asked(named_study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(["analyze", str(named_study / "Quillfeather_PLAX.dcm"), "--out", str(out), "--keep-identifiers", "--quiet"])
    assert b"Quillfeather_PLAX.dcm" in (out / "results.json").read_bytes()


def test_a_zip_gives_what_its_folder_gives(named_study: Path, tmp_path: Path) -> None:
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", named_study))
    run(["analyze", str(named_study), "--out", str(tmp_path / "a"), "--no-overlays", "--quiet"])
    code = run(["analyze", str(packed), "--out", str(tmp_path / "b"), "--no-overlays", "--quiet"])
    assert code == ExitCode.SOME_FILES_FAILED
    first, second = (json.loads((tmp_path / name / "results.json").read_text()) for name in "ab")
    assert [item["value"] for item in first["measurements"]] == [item["value"] for item in second["measurements"]]
    assert len(first["errors"]) == len(second["errors"])


def test_the_same_from_python(named_study: Path, labelled_study: LabelledStudy) -> None:
    report = echoapex.analyze(named_study, options=echoapex.AnalysisOptions(contours="ed_es"))
    assert report.ef is not None
    assert report.ef.value == pytest.approx(labelled_study.truth.ejection_fraction_percent)
    assert report.ef.evidence[0].clip_id


def test_nothing_to_analyse_has_its_own_code(
    named_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["analyze", str(named_study / "empty.avi"), "--out", str(tmp_path / "o"), "--quiet"]) == (
        ExitCode.NOTHING_ANALYSED
    )
    assert run(["analyze", str(tmp_path / "absent"), "--out", str(tmp_path / "p"), "--quiet"]) == ExitCode.USAGE
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()
