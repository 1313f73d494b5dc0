"""One's own clips with a table: values against the simulated hearts, and every finding."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_findings import checks, edit_table, inspected, write_table
from tiny_clip_folder import SPLITS, outline_tiny_clip_folder, write_tiny_clip_folder

from echoapex.data.datasets import DatasetError, folder
from echoapex.data.datasets.folder import COLUMNS, ClipFolder, inspect_folder
from echoapex.phantom import PhantomClip
from echoapex.vocabulary import Quantity, Structure, View


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, PhantomClip]]:
    root = tmp_path_factory.mktemp("own")
    return root, write_tiny_clip_folder(root)


@pytest.fixture
def copy(written: tuple[Path, dict[str, PhantomClip]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(written[0], tmp_path / "copy"))


def test_records_tell_what_the_table_tells(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    root, clips = written
    records = list(ClipFolder(root).records())
    assert [record.name for record in records] == list(clips)
    for seed, record in enumerate(records):
        clip = clips[record.name]
        assert (record.patient, record.view, record.split) == (f"P{seed}", View.A4C, SPLITS[seed])
        assert record.value(Quantity.LVEF) == pytest.approx(clip.ejection_fraction_percent, abs=1e-3)
        assert record.value(Quantity.EDV) == pytest.approx(clip.edv_ml, abs=1e-3)
        assert {one.source for one in record.references} == {"simulated volumes"}
        assert record.spacing is not None
        assert record.spacing.row_mm == pytest.approx(clip.spacing.row_mm, abs=1e-5)
        assert record.labels == {"ward": str(seed)}
    assert [record.patient for record in ClipFolder(root).records("test")] == ["P2"]


def test_only_the_file_is_needed(copy: Path) -> None:
    write_table(copy / "clips.csv", ["file"], [{"file": "ward 0/clip0.avi"}])
    (record,) = ClipFolder(copy).records()
    assert (record.patient, record.split, record.view, record.references) == (None, None, None, ())
    assert record.spacing is None
    assert "gives none" in record.spacing_reason
    assert inspected(inspect_folder, copy).is_sound


def test_every_column_is_in_the_documentation() -> None:
    assert folder.__doc__ is not None
    for column in COLUMNS:
        assert f"``{column}``" in folder.__doc__


def test_a_sound_copy_has_nothing_to_say(copy: Path) -> None:
    inspection = inspected(inspect_folder, copy)
    assert inspection.findings == ()
    assert (inspection.usable, inspection.counted) == (3, {"clips": 3, "patients": 3})


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("file", "", "the column file is empty"),
        ("file", "../elsewhere.avi", "lies outside the folder"),
        ("view", "a4c", "did you mean A4C"),
        ("split", "dev", "split 'dev' is none of train, val, test"),
        ("ef_percent", "half", "ef_percent 'half' is no number"),
        ("ef_percent", "0.55", "ef_percent 0.55 is not between 5 and 90 %"),
        ("edv_ml", "9000", "edv_ml 9000 is not between"),
        ("row_mm", "", "row_mm and column_mm belong together"),
        ("row_mm", "-1", "are not both positive numbers"),
    ],
)
def test_a_wrong_cell_is_found_and_refused(copy: Path, column: str, value: str, problem: str) -> None:
    edit_table(copy / "clips.csv", lambda rows: rows[0].__setitem__(column, value))
    inspection = inspected(inspect_folder, copy)
    assert [finding.check for finding in inspection.findings] == ["row"]
    assert problem in inspection.findings[0].problem
    assert inspection.usable == 2
    with pytest.raises(DatasetError, match=r"clips\.csv, line 2: "):
        list(ClipFolder(copy).records())


def test_patients_in_two_splits_and_splits_without_patients_are_found(copy: Path) -> None:
    edit_table(copy / "clips.csv", lambda rows: rows[1].__setitem__("patient", "P0"))
    assert checks(inspect_folder, copy) == {"patient in two splits"}
    edit_table(copy / "clips.csv", lambda rows: rows[1].__setitem__("patient", ""))
    assert checks(inspect_folder, copy) == {"patient"}


def rename_column(table: Path, old: str, new: str) -> None:
    heading, _, rest = table.read_text().partition("\n")
    columns = [new if column == old else column for column in heading.split(",")]
    table.write_text(",".join(columns) + "\n" + rest)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ef_percent", "EF"),
        ("ef_percent", "ef"),
        ("ef_percent", "LVEF (%)"),
        ("ef_percent", "ef_percents"),
        ("view", "view_name"),
        ("view", "View"),
        ("edv_ml", "EDV"),
        ("patient", "patient_id"),
        ("file", "filename"),
        ("row_mm", "Row_mm"),
    ],
)
def test_a_misnamed_column_is_asked_about_and_refused(copy: Path, old: str, new: str) -> None:
    rename_column(copy / "clips.csv", old, new)
    with pytest.raises(DatasetError) as caught:
        list(ClipFolder(copy).records())
    asked = f"clips.csv: unknown column {new!r}; did you mean {old!r}? Rename it in your clips.csv"
    assert str(caught.value) == asked
    finding = inspected(inspect_folder, copy).findings[0]
    assert (finding.check, finding.severity) == ("column", "error")
    assert f"unknown column {new!r}; did you mean {old!r}" in finding.problem


def test_other_columns_stay_labels(copy: Path) -> None:
    rename_column(copy / "clips.csv", "ward", "EF")
    record = next(iter(ClipFolder(copy).records()))
    assert record.labels == {"EF": "0"}, "the table has ef_percent, so this is something else"
    rename_column(copy / "clips.csv", "view", "ward")
    rename_column(copy / "clips.csv", "EF", "viewer")
    assert next(iter(ClipFolder(copy).records())).labels == {"ward": "A4C", "viewer": "0"}
    finding = inspected(inspect_folder, copy).findings[0]
    assert (finding.severity, finding.problem) == (
        "warning", "the column 'viewer' is kept as a label; did you mean 'view'?",
    )  # fmt: skip


def test_ones_own_table_is_not_sent_to_an_official_one(copy: Path) -> None:
    rename_column(copy / "clips.csv", "file", "what")
    for refused in (lambda: list(ClipFolder(copy).records()), lambda: inspected(inspect_folder, copy)):
        with pytest.raises(DatasetError) as caught:
            refused()
        assert "lacks the column file (it has what, patient" in str(caught.value)
        assert "official" not in str(caught.value)


def test_an_ejection_fraction_beside_a_view_that_is_not_apical_is_found(copy: Path) -> None:
    def long_axis(rows: list[dict[str, str]]) -> None:
        rows[0]["view"] = rows[2]["view"] = "PLAX"
        rows[1]["view"] = ""

    edit_table(copy / "clips.csv", long_axis)
    (finding,) = inspected(inspect_folder, copy).findings
    assert (finding.severity, finding.check) == ("warning", "view of an ejection fraction")
    assert finding.problem.startswith("2 rows (first: line 2) have an ejection fraction and a view that is not")
    assert "not learned" in finding.remedy


def test_missing_and_damaged_clips_are_found(copy: Path) -> None:
    (copy / "ward 0" / "clip0.avi").unlink()
    (copy / "ward 1" / "clip1.avi").write_bytes(b"no clip")
    assert checks(inspect_folder, copy) == {"missing file", "unreadable file"}


def test_a_folder_without_a_table_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no clips\.csv; write one with the columns file, patient, view"):
        ClipFolder(tmp_path)


def test_outlines_are_read_by_frame(copy: Path, written: tuple[Path, dict[str, PhantomClip]]) -> None:
    outline_tiny_clip_folder(copy, written[1])
    record = next(iter(ClipFolder(copy).records()))
    maps = record.read_labels()
    assert sorted(maps) == [0, 2]
    np.testing.assert_array_equal(maps[2], written[1][record.name].labels[2])
    assert record.outlined == (Structure.LV_CAVITY, Structure.LEFT_ATRIUM)
    assert inspected(inspect_folder, copy).is_sound


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (np.zeros((5, 5), np.uint8), "is 5 x 5, its clip 96 x 96; make them the same"),
        (np.full((96, 96), 9, np.uint8), "has the value 9, but structures go from 1 to 6"),
        (np.zeros((96, 96, 3), np.uint8), "is no PNG of 8-bit labels"),
    ],
)
def test_a_bad_label_map_is_named(
    copy: Path, written: tuple[Path, dict[str, PhantomClip]], spoilt: np.ndarray, words: str
) -> None:
    outline_tiny_clip_folder(copy, written[1])
    cv2.imwrite(str(copy / "outlines" / "clip0" / "2.png"), spoilt)
    with pytest.raises(DatasetError) as caught:
        next(iter(ClipFolder(copy).records())).read_labels()
    assert str(caught.value).startswith("outlines/clip0/2.png: ") and words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outlined": ""}, "outlines and outlined belong together"),
        ({"outlined": "lv_cavity liver"}, "outlined names 'liver', which is none of aortic_root, "),
        ({"outlines": "../elsewhere"}, "outlines '../elsewhere' lie outside the folder"),
        ({"outlines": "gone"}, "outlines 'gone' are not there"),
    ],
)
def test_bad_columns_of_outlines_are_refused(
    copy: Path, written: tuple[Path, dict[str, PhantomClip]], change: dict[str, str], words: str
) -> None:
    outline_tiny_clip_folder(copy, written[1])
    edit_table(copy / "clips.csv", lambda rows: rows[0].update(change))
    with pytest.raises(DatasetError) as caught:
        list(ClipFolder(copy).records())
    assert words in str(caught.value)
