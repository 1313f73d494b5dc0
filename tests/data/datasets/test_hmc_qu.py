"""HMC-QU on simulated hearts in its official layout: masks against the truth, and every finding."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from dataset_findings import checks, inspected
from tiny_hmc_qu import FIRST, LAST, SIDE, write_masks, write_tiny_hmc_qu

from echoapex.data.datasets import DatasetError, hmc_qu
from echoapex.data.datasets.hmc_qu import HmcQu, inspect_hmc_qu
from echoapex.metrics import dice
from echoapex.phantom import PhantomClip
from echoapex.vocabulary import Structure, View

ECHO = "ES0001 _4CH_1"
MASK = f"LV Ground-truth Segmentation Masks/Mask_{ECHO}.mat"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, PhantomClip]]:
    root = tmp_path_factory.mktemp("hmcqu")
    return root, write_tiny_hmc_qu(root)


@pytest.fixture
def copy(written: tuple[Path, dict[str, PhantomClip]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hmc_qu, "PUBLISHED_VIDEOS", {"A4C": 2, "A2C": 1})
    monkeypatch.setattr(hmc_qu, "PUBLISHED_MASKS", 1)
    return Path(shutil.copytree(written[0], tmp_path / "copy"))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_records_tell_view_patient_and_segments(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    root, clips = written
    records = list(HmcQu(root).records())
    assert [record.name for record in records] == list(clips)
    assert [record.view for record in records] == [View.A4C, View.A4C, View.A2C]
    assert [record.patient for record in records] == ["ES0001", "ES0002", "ES0001"]
    assert all(record.path.is_file() and record.split is None and record.spacing is None for record in records)
    assert records[0].labels == dict.fromkeys(("SEG1", "SEG2", "SEG3", "SEG5", "SEG6"), "non-MI") | {"SEG7": "MI"}
    assert records[2].labels == {"SEG4": "MI", "SEG8": "non-MI"}


def test_masks_are_the_wall_in_native_pixels(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    root, clips = written
    first, second, _ = HmcQu(root).records()
    labels = first.read_labels()
    assert list(labels) == list(range(FIRST - 1, LAST))
    for frame, found in labels.items():
        assert found.shape == (SIDE, SIDE)
        true_wall = clips[first.name].labels[frame] == int(Structure.LV_MYOCARDIUM)
        assert dice(true_wall, found == int(Structure.LV_MYOCARDIUM)) > 0.97
    assert second.read_labels() == {}


def test_a_sound_copy_has_notes_only(copy: Path) -> None:
    inspection = inspected(inspect_hmc_qu, copy)
    assert inspection.is_sound, inspection.findings
    assert inspection.usable == 3
    assert inspection.counted == {"A4C videos": 2, "A2C videos": 1, "patients": 2, "masks": 1}


def test_the_published_counts_are_checked(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    found = {"count of A4C videos", "count of A2C videos", "count of masks"}
    assert checks(inspect_hmc_qu, written[0]) == found


def test_excel_is_refused_with_the_way_out(copy: Path) -> None:
    (copy / "A2C.csv").rename(copy / "A2C.xlsx")
    assert checks(inspect_hmc_qu, copy) == {"missing sheet"}
    (copy / "A4C.csv").rename(copy / "A4C.xlsx")
    with pytest.raises(DatasetError, match=r"A4C\.xlsx and A2C\.xlsx: Excel is not read; .*save its sheet as CSV"):
        HmcQu(copy)


def test_missing_damaged_and_forgotten_files_are_found(copy: Path) -> None:
    (copy / "HMC-QU" / "A2C" / "ES0001_CH2_1.avi").unlink()
    (copy / "HMC-QU" / "A4C" / "ES0002 _4CH_1.avi").write_bytes(b"no video")
    shutil.copy(copy / "HMC-QU" / "A4C" / f"{ECHO}.avi", copy / "HMC-QU" / "A4C" / "extra.avi")
    (copy / MASK).unlink()
    assert checks(inspect_hmc_qu, copy) == {"missing file", "unreadable file", "unlisted file", "missing mask"}


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"other": np.zeros((5, 224, 224))}, "holds no array 'predicted'"),
        ({"predicted": np.zeros((5, 112, 112))}, r"is \(5, 112, 112\), not"),
    ],
)
def test_a_damaged_mask_is_found(copy: Path, arrays: dict[str, np.ndarray], problem: str) -> None:
    scipy.io.savemat(copy / MASK, arrays)
    assert checks(inspect_hmc_qu, copy) == {"mask"}
    with pytest.raises(DatasetError, match=problem):
        next(HmcQu(copy).records()).read_labels()


def test_an_empty_mask_and_a_foreign_cycle_are_found(copy: Path, written: tuple[Path, dict[str, PhantomClip]]) -> None:
    scipy.io.savemat(copy / MASK, {"predicted": np.zeros((LAST - FIRST + 1, 224, 224))})
    assert checks(inspect_hmc_qu, copy) == {"empty mask"}
    write_masks(copy, ECHO, written[1][f"A4C/{ECHO}.avi"], range(2))
    assert checks(inspect_hmc_qu, copy) == {"cycle"}
    write_masks(copy, ECHO, written[1][f"A4C/{ECHO}.avi"])
    replace(copy / "A4C.csv", f"MI,{FIRST},{LAST},ü", "MI,,,ü")
    assert checks(inspect_hmc_qu, copy) == {"cycle"}


def test_a_sheet_without_names_is_refused(copy: Path) -> None:
    replace(copy / "A4C.csv", "ECHO", "Video")
    with pytest.raises(DatasetError, match=r"A4C\.csv: lacks the column ECHO"):
        list(HmcQu(copy).records())


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither A4C\.csv nor A2C\.csv"):
        HmcQu(tmp_path)
