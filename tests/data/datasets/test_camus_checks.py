"""The verifier of CAMUS on simulated hearts in both official releases, on one archive, and on the real files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dataset_findings import checks, inspected
from real_files import shared_data
from tiny_camus import write_tiny_camus
from tiny_camus_folder import SIDE, SPLITS, write_nifti, write_tiny_camus_folder

from echoapex.data.datasets import camus_checks
from echoapex.data.datasets.camus import open_camus
from echoapex.data.datasets.camus_checks import inspect_camus
from echoapex.phantom import PhantomClip
from echoapex.vocabulary import Quantity, Structure, View

EF_SOURCE = {True: "CAMUS EF of the NIfTI release", False: "CAMUS LVef of the MetaImage release"}


@pytest.fixture(scope="module", params=[True, False], ids=["nifti", "meta image"])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, PhantomClip], bool]:
    root = tmp_path_factory.mktemp("camus")
    return root, write_tiny_camus_folder(root, is_nifti=request.param), request.param


@pytest.fixture
def copy(written: tuple[Path, dict[str, PhantomClip], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(camus_checks, "PUBLISHED_SPLITS", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr(camus_checks, "PUBLISHED_PATIENTS", 3)
    return Path(shutil.copytree(written[0], tmp_path / "copy"))


def folder_of(root: Path, patient: str = "patient0001") -> Path:
    return next(path for path in root.rglob(patient) if path.is_dir())


def test_records_are_those_of_the_simulated_hearts(written: tuple[Path, dict[str, PhantomClip], bool]) -> None:
    root, clips, is_nifti = written
    records = {record.name: record for record in open_camus(root).records()}
    assert set(records) == set(clips)
    for name, record in records.items():
        clip = clips[name]
        assert (record.patient, record.view, record.size) == (name[:11], clip.view, (SIDE, SIDE))
        assert record.split == {"training": "train", "validation": "val", "testing": "test"}[SPLITS[name[:11]]]
        assert record.spacing is not None
        assert record.spacing.row_mm == pytest.approx(clip.spacing.row_mm, rel=1e-6)
        labels = record.read_labels()
        for number, frame in enumerate((clip.ed_frame, clip.es_frame)):
            for structure in (Structure.LV_CAVITY, Structure.LV_MYOCARDIUM, Structure.LEFT_ATRIUM):
                assert ((labels[number] == structure) == (clip.labels[frame] == structure)).all()
        # the two releases have two references of EF, and only one has volumes
        assert record.value(Quantity.LVEF) == pytest.approx(clip.ejection_fraction_percent, abs=1e-3)
        assert {one.source for one in record.references} == {EF_SOURCE[is_nifti]}
        assert record.value(Quantity.EDV) == (None if is_nifti else pytest.approx(clip.edv_ml, abs=1e-3))
        assert record.value(Quantity.ESV) == (None if is_nifti else pytest.approx(clip.esv_ml, abs=1e-3))


def test_a_sound_copy_has_a_note_on_its_reference_of_ef(copy: Path, written: tuple[Path, object, bool]) -> None:
    inspection = inspected(inspect_camus, copy)
    assert inspection.is_sound, inspection.findings
    assert (inspection.usable, inspection.counted) == (6, {"patients": 3, "outlined views": 6})
    (note,) = inspection.findings
    assert note.check == "reference of EF"
    assert EF_SOURCE[written[2]] in note.problem


def test_the_published_counts_are_checked(written: tuple[Path, object, bool]) -> None:
    assert checks(inspect_camus, written[0]) == {"count of patients", "count of a split"}


def test_two_references_of_ef_are_not_mixed(copy: Path) -> None:
    folder = folder_of(copy)
    for path in folder.glob("Info_*.cfg"):
        text = path.read_text()
        path.write_text(text.replace("LVef:", "EF:") if "LVef" in text else text.replace("EF:", "LVef:"))
    assert checks(inspect_camus, copy) == {"two references of EF"}


def test_lists_with_missing_doubled_and_unlisted_patients_are_found(copy: Path) -> None:
    lists = copy / "database_split"
    (lists / "subgroup_validation.txt").write_text("patient0001\npatient0077\n")
    assert checks(inspect_camus, copy) == {
        "count of a split",
        "patients of a split",
        "patient in two splits",
        "patient without split",
    }
    (lists / "subgroup_testing.txt").unlink()
    assert "split list" in checks(inspect_camus, copy)


def test_missing_frames_and_disagreeing_info_are_found(copy: Path) -> None:
    folder = folder_of(copy)
    for path in folder.glob("*_4CH_ES_gt.*"):
        path.unlink()
    info = folder / "Info_2CH.cfg"
    info.write_text(info.read_text() + "Age: 99\n")
    assert checks(inspect_camus, copy) == {"missing frame", "Info files disagree"}
    for path in folder.glob("Info_*.cfg"):
        path.unlink()
    inspection = inspected(inspect_camus, copy)
    assert "patients without EF" in {finding.check for finding in inspection.findings}


def test_wrong_outlines_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camus_checks, "PUBLISHED_SPLITS", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr(camus_checks, "PUBLISHED_PATIENTS", 3)
    clips = write_tiny_camus_folder(tmp_path)
    first, second, third = (folder_of(tmp_path, patient) for patient in SPLITS)
    write_nifti(first / "patient0001_4CH_ES_gt", np.zeros((SIDE, SIDE), np.uint8), 0.3)
    write_nifti(second / "patient0002_4CH_ED_gt", np.full((SIDE, SIDE), 9, np.uint8), 0.3)
    clip = clips["patient0003_4CH"]
    write_nifti(third / "patient0003_4CH_ED", clip.frames[0], 1.0)
    for phase, frame in (("ED", clip.es_frame), ("ES", clip.ed_frame)):
        labels = np.where(clip.labels[frame] <= 3, clip.labels[frame], 0).astype(np.uint8)
        write_nifti(third / f"patient0003_4CH_{phase}_gt", labels, 0.3)
    assert checks(inspect_camus, tmp_path) == {"empty outline", "unreadable frame", "spacing", "phases"}


def test_the_archive_is_checked_against_train_and_val(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_camus(tmp_path)
    assert checks(inspect_camus, tmp_path) == {"count of patients", "count of a split"}
    monkeypatch.setattr(camus_checks, "PUBLISHED_SPLITS", {"train": 4, "val": 1, "test": 1})
    inspection = inspected(inspect_camus, tmp_path)
    assert inspection.is_sound, inspection.findings
    assert inspection.usable == 10
    record = next(iter(open_camus(tmp_path).records("val")))
    assert (record.view, record.spacing, record.split) == (View.A4C, None, "val")
    assert set(record.read_labels()) == {0, 1}


def test_the_real_archive_is_sound() -> None:
    inspection = inspected_sample(shared_data("camus224"))
    assert inspection.is_sound, inspection.findings
    assert inspection.counted["patients"] == 450
    assert {"reference of EF", "spacing"} <= {finding.check for finding in inspection.findings}


def test_the_real_native_files_are_a_known_part() -> None:
    root = shared_data("camus_native_4ch")
    inspection = inspected_sample(root)
    found = {finding.check for finding in inspection.findings}
    assert found == {"missing frame", "split list", "count of patients", "patients without EF"}
    assert inspection.usable == 149
    record = next(open_camus(root).records())
    assert record.spacing is not None
    assert record.spacing.row_mm == pytest.approx(0.308, abs=1e-4)
    assert (record.read_labels()[0] == Structure.LV_CAVITY).sum() > (
        record.read_labels()[1] == Structure.LV_CAVITY
    ).sum()


def inspected_sample(root: Path) -> camus_checks.Inspection:
    inspection = camus_checks.Inspection(root)
    inspect_camus(inspection)
    return inspection
