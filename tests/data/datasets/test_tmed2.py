"""TMED-2 on simulated hearts in its official layout, and every finding."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dataset_findings import checks, edit_table, inspected
from tiny_tmed2 import IMAGES, write_tiny_tmed2

from echoapex.data.datasets import DatasetError, tmed2
from echoapex.data.datasets.tmed2 import Tmed2, inspect_tmed2
from echoapex.vocabulary import View

TABLE = "DEV479/TMED2_fold0_labeledpart.csv"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_tmed2(tmp_path_factory.mktemp("tmed2"))


@pytest.fixture
def copy(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tmed2, "PUBLISHED", {"patients": 3, "studies": 4, "images": 5})
    return Path(shutil.copytree(written, tmp_path / "approved_users_only"))


@pytest.mark.parametrize("above", [False, True])
def test_records_tell_view_patient_study_and_grade(written: Path, above: bool) -> None:
    records = list(Tmed2(written.parent if above else written).records())
    assert [record.path.name for record in records] == [image[0] for image in IMAGES]
    assert all(record.path.is_file() for record in records)
    # the level of a short-axis view and "A4C or A2C or other" are no views
    assert [record.view for record in records] == [View.PLAX, None, View.A4C, View.A2C, None, View.PLAX]
    assert [record.labels["view_label"] for record in records] == [image[1] for image in IMAGES]
    assert [record.patient for record in records] == ["1001", "1001", "1001", "1002", "1003", "2001"]
    assert records[2].labels == {"view_label": "A4C", "diagnosis_label": "mild_AS", "study": "1001s2"}
    assert {record.spacing for record in records} == {None}


def test_a_split_is_that_of_the_view_classifier(written: Path) -> None:
    assert [record.patient for record in Tmed2(written).records("val")] == ["1002"]
    with pytest.raises(DatasetError, match="none of train, val, test, all"):
        list(Tmed2(written).records("VAL"))


def test_a_sound_copy_has_notes_only(copy: Path) -> None:
    inspection = inspected(inspect_tmed2, copy)
    assert inspection.is_sound, inspection.findings
    assert inspection.usable == 6
    assert inspection.counted == {"patients": 3, "studies": 4, "images": 5, "listed images": 6}


def test_the_published_counts_are_checked(written: Path) -> None:
    assert checks(inspect_tmed2, written) == {"count of patients", "count of studies", "count of images"}


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("view_label", "A3C", {"view label"}),
        ("diagnosis_label", "AS", {"diagnosis label"}),
        ("view_classifier_split", "dev", {"split name", "two splits of one image"}),
        ("view_classifier_split", "val", {"patient in two splits", "two splits of one image"}),
        ("diagnosis_classifier_split", "val", {"two splits of one image"}),
        ("query_key", "image.png", {"file name", "missing file", "unlisted file"}),
        ("query_key", "1001s1_1.png", {"image listed twice", "unlisted file"}),
    ],
)
def test_a_wrong_cell_is_found(copy: Path, column: str, value: str, found: set[str]) -> None:
    edit_table(copy / TABLE, lambda rows: rows[0].__setitem__(column, value))
    assert checks(inspect_tmed2, copy) == found


def test_damaged_and_resized_images_are_found(copy: Path) -> None:
    folder = copy / "view_and_diagnosis_labeled_set" / "labeled"
    (folder / "1001s1_0.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    shutil.copy(copy / "view_labeled_set" / "labeled" / "2001s1_0.png", folder / "9999s1_0.png")
    (folder / "1003s1_0.png").unlink()
    assert checks(inspect_tmed2, copy) == {"unreadable file", "unlisted file", "missing file"}


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no DEV479/TMED2_fold0_labeledpart\.csv"):
        Tmed2(tmp_path)
