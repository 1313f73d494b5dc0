"""EchoNet-Pediatric on simulated hearts in its official layout: values against the phantom's truth, every finding."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dataset_findings import checks, edit_table, inspected
from tiny_echonet_pediatric import FOLDS, SIDE, write_tiny_echonet_pediatric

from echoapex.data.datasets import DatasetError
from echoapex.data.datasets.echonet_pediatric import EchoNetPediatric, inspect_echonet_pediatric
from echoapex.metrics import dice
from echoapex.phantom import PhantomClip
from echoapex.vocabulary import Quantity, Structure, View


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, PhantomClip]]:
    root = tmp_path_factory.mktemp("pediatric")
    return root, write_tiny_echonet_pediatric(root)


@pytest.fixture
def copy(written: tuple[Path, dict[str, PhantomClip]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(written[0], tmp_path / "copy"))


def test_values_and_outlines_are_those_of_the_simulated_hearts(
    written: tuple[Path, dict[str, PhantomClip]],
) -> None:
    root, clips = written
    records = {record.name: record for record in EchoNetPediatric(root).records()}
    assert list(records) == list(clips)
    for name, record in records.items():
        clip = clips[name]
        assert record.value(Quantity.LVEF) == pytest.approx(clip.ejection_fraction_percent, abs=1e-5)
        # the level of a short-axis view is not told, so it is not guessed
        assert record.view is (View.A4C if name.startswith("A4C") else None)
        assert record.labels["view_folder"] == name.partition("/")[0]
        assert record.split in FOLDS.values()
        assert record.path.is_file()
        assert {outline.phase: outline.frame for outline in record.outlines} == {
            "ED": clip.ed_frame,
            "ES": clip.es_frame,
        }
        for outline in record.outlines:
            true_mask = clip.labels[outline.frame] == int(Structure.LV_CAVITY)
            assert dice(true_mask, outline.mask((SIDE, SIDE))) > 0.9


def test_both_views_of_a_child_have_one_patient_and_one_fold(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    folds: dict[str | None, set[str | None]] = {}
    for record in EchoNetPediatric(written[0]).records():
        folds.setdefault(record.patient, set()).add(record.split)
    assert folds == {"CR32a0000": {"0"}, "CR32a0001": {"7"}, "CR32a0002": {"9"}}
    assert {record.patient for record in EchoNetPediatric(written[0]).records("7")} == {"CR32a0001"}


def test_phases_that_were_not_traced_are_passed_over(copy: Path) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        first = rows[0]["Frame"]
        rows[:] = [row for row in rows if not (row["FileName"] == rows[0]["FileName"] and row["Frame"] == first)]
        rows.insert(0, {"FileName": "CR32a0000-CR32b0000-000000.avi", "X": "", "Y": "", "Frame": "No Systolic"})

    edit_table(copy / "A4C" / "VolumeTracings.csv", change)
    record = next(EchoNetPediatric(copy).records())
    assert [outline.phase for outline in record.outlines] == [""]
    inspection = inspected(inspect_echonet_pediatric, copy)
    assert inspection.is_sound
    assert "untraced videos" in {finding.check for finding in inspection.findings}


def test_a_sound_copy_has_notes_only(copy: Path) -> None:
    inspection = inspected(inspect_echonet_pediatric, copy)
    assert inspection.is_sound, inspection.findings
    assert (inspection.usable, inspection.counted) == (5, {"A4C videos": 3, "PSAX videos": 2, "patients": 3})


@pytest.mark.parametrize(
    ("table", "column", "value", "found"),
    [
        ("A4C/FileList.csv", "Split", "10", {"split name"}),
        ("A4C/FileList.csv", "Split", "3", {"patient in two splits"}),
        ("A4C/FileList.csv", "EF", "-", {"ejection fraction"}),
        (
            "PSAX/FileList.csv",
            "FileName",
            "video.avi",
            {"file name", "missing file", "unlisted file", "tracing of an unlisted video"},
        ),
        ("PSAX/VolumeTracings.csv", "X", "?", {"tracings"}),
        ("PSAX/VolumeTracings.csv", "FileName", "b-b-b.avi", {"tracing of an unlisted video"}),
    ],
)
def test_a_wrong_cell_is_found(copy: Path, table: str, column: str, value: str, found: set[str]) -> None:
    edit_table(copy / table, lambda rows: rows[0].__setitem__(column, value))
    assert checks(inspect_echonet_pediatric, copy) == found


def test_a_missing_view_is_a_warning_and_no_view_an_error(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "PSAX")
    assert checks(inspect_echonet_pediatric, copy) == {"missing view"}
    assert {record.view for record in EchoNetPediatric(copy).records()} == {View.A4C}
    with pytest.raises(DatasetError, match=r"neither A4C/FileList\.csv nor PSAX"):
        EchoNetPediatric(tmp_path)


def test_a_damaged_video_is_found(copy: Path) -> None:
    next((copy / "PSAX" / "Videos").glob("*.avi")).write_bytes(b"no video")
    assert checks(inspect_echonet_pediatric, copy) == {"unreadable file"}
