"""MIMIC-IV-ECHO on simulated studies in its official layout: EF against the truth, and every finding."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dataset_findings import checks, edit_table, inspected
from tiny_mimic_iv_echo import STUDIES, WITHOUT_MEASUREMENT, write_digests, write_tiny_mimic_iv_echo

from echoapex.data.datasets import DatasetError, mimic_iv_echo
from echoapex.data.datasets.mimic_iv_echo import MimicIvEcho, inspect_mimic_iv_echo
from echoapex.io.study_files import read_clip
from echoapex.phantom.truth import StudyTruth
from echoapex.vocabulary import Quantity

RECORDS, LIST_OF_STUDIES = "echo-record-list.csv", "echo-study-list.csv"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, StudyTruth]]:
    root = tmp_path_factory.mktemp("mimic")
    return root, write_tiny_mimic_iv_echo(root)


@pytest.fixture
def copy(written: tuple[Path, dict[str, StudyTruth]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(mimic_iv_echo, "PUBLISHED_STUDIES", 3)
    monkeypatch.setattr(mimic_iv_echo, "PUBLISHED_PATIENTS", 2)
    monkeypatch.setattr(mimic_iv_echo, "PUBLISHED_FILES_AT_LEAST", 6)
    return Path(shutil.copytree(written[0], tmp_path / "copy"))


def test_records_tell_patient_study_and_ejection_fraction(written: tuple[Path, dict[str, StudyTruth]]) -> None:
    root, truths = written
    records = list(MimicIvEcho(root).records())
    assert len(records) == 6
    for record in records:
        study = record.labels["study"]
        assert record.patient == STUDIES[study]
        assert (record.split, record.view, record.spacing) == (None, None, None)
        assert "in the DICOM file" in record.spacing_reason
        if study == WITHOUT_MEASUREMENT:
            assert record.references == ()
        else:
            truth = truths[study].ejection_fraction_percent
            assert record.value(Quantity.LVEF) == pytest.approx(truth, abs=1e-5)
    header = read_clip(records[0].path).header
    assert header.spacing is not None
    assert header.spacing.row_mm == pytest.approx(truths[records[0].labels["study"]].clips[0].row_mm, rel=1e-3)


def test_version_0_1_has_no_measurements(copy: Path) -> None:
    (copy / "structured-measurement.csv.gz").unlink()
    assert {record.references for record in MimicIvEcho(copy).records()} == {()}
    inspection = inspected(inspect_mimic_iv_echo, copy)
    assert inspection.is_sound, inspection.findings
    assert [finding.check for finding in inspection.findings] == ["measurements"]


def test_there_are_no_splits(written: tuple[Path, dict[str, StudyTruth]]) -> None:
    with pytest.raises(DatasetError, match="split 'train' is none of all"):
        list(MimicIvEcho(written[0]).records("train"))


def test_a_sound_copy_has_nothing_to_say(copy: Path) -> None:
    inspection = inspected(inspect_mimic_iv_echo, copy)
    assert inspection.findings == ()
    assert (inspection.usable, inspection.counted) == (6, {"files": 6, "studies": 3, "patients": 2})


def test_the_published_counts_are_checked(written: tuple[Path, dict[str, StudyTruth]]) -> None:
    found = {"count of studies", "count of patients", "count of files"}
    assert checks(inspect_mimic_iv_echo, written[0]) == found


@pytest.mark.parametrize(
    ("table", "column", "value", "found"),
    [
        (RECORDS, "subject_id", "19", {"file path", "study of two patients", "count of patients"}),
        (RECORDS, "dicom_filepath", "files/p10/x.dcm", {"file path", "missing file"}),
        (LIST_OF_STUDIES, "subject_id", "11000002", {"study of two patients"}),
        (LIST_OF_STUDIES, "study_id", "1", {"undescribed studies"}),
    ],
)
def test_a_wrong_cell_is_found(copy: Path, table: str, column: str, value: str, found: set[str]) -> None:
    edit_table(copy / table, lambda rows: rows[0].__setitem__(column, value))
    write_digests(copy)
    assert checks(inspect_mimic_iv_echo, copy) == found


def test_changed_bytes_are_found_by_their_digest(copy: Path) -> None:
    path = next(copy.rglob("*_0001.dcm"))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1  # still readable
    path.write_bytes(bytes(data))
    assert checks(inspect_mimic_iv_echo, copy) == {"digest"}


def test_damaged_and_missing_files_are_found(copy: Path) -> None:
    first, second, *_ = sorted(copy.rglob("*.dcm"))
    first.write_bytes(b"no DICOM")
    second.unlink()
    (copy / LIST_OF_STUDIES).unlink()
    assert checks(inspect_mimic_iv_echo, copy) == {"digest", "unreadable file", "missing file", "missing table"}


def test_a_file_that_the_digests_do_not_know_is_found(copy: Path) -> None:
    lines = (copy / "SHA256SUMS.txt").read_text().splitlines()
    (copy / "SHA256SUMS.txt").write_text("\n".join(line for line in lines if "94106955_0001" not in line) + "\n")
    assert checks(inspect_mimic_iv_echo, copy) == {"digest missing"}
    (copy / "SHA256SUMS.txt").unlink()
    assert [finding.check for finding in inspected(inspect_mimic_iv_echo, copy).findings] == ["digests"]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no echo-record-list\.csv"):
        MimicIvEcho(tmp_path)
