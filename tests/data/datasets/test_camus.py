"""CAMUS in both layouts: a tiny one made here, and the real files where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from echoapex.data.datasets.camus import (
    CamusArchive,
    CamusError,
    CamusFolder,
    open_camus,
    read_images,
    select_patients,
)
from echoapex.vocabulary import Structure, View

HEIGHT, WIDTH = 40, 30


def shared_folder(name: str) -> Path:
    default = Path(__file__).resolve().parents[4] / "shared" / "data"
    folder = Path(os.environ.get("ECHOAPEX_SHARED_DATA", default)) / name
    if not folder.is_dir():
        pytest.skip(f"the shared data folder has no {name} (set ECHOAPEX_SHARED_DATA)")
    return folder


def drawn_image(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and its labels, (row, column)."""
    image = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[5:20, 8:22], labels[7:18, 10:20], labels[20:30, 10:20] = 2, 1, 3
    return image, labels


def write_nifti(path: Path, array: np.ndarray) -> None:
    image = nibabel.Nifti1Image(array.T.copy(), np.diag([0.3, 0.2, 1, 1]))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)


def write_meta_image(path: Path, array: np.ndarray) -> None:
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        f"DimSize = {array.shape[1]} {array.shape[0]} 1\nElementSpacing = 0.3 0.2 1\nElementType = MET_UCHAR\n"
        f"ElementDataFile = {path.stem}.raw\n"
    )
    path.write_text(header)
    path.with_suffix(".raw").write_bytes(array.tobytes())


@pytest.fixture()
def official(tmp_path: Path) -> Path:
    """Three patients: two NIfTI, one MetaImage; the last has 4CH only."""
    for number in (1, 2, 3):
        folder = tmp_path / "database" / f"patient{number:04d}"
        folder.mkdir(parents=True)
        for view in ("4CH",) if number == 3 else ("2CH", "4CH"):
            for phase in ("ED", "ES"):
                image, labels = drawn_image(number)
                stem = f"{folder.name}_{view}_{phase}"
                if number == 3:
                    write_meta_image(folder / f"{stem}.mhd", image)
                    write_meta_image(folder / f"{stem}_gt.mhd", labels)
                else:
                    write_nifti(folder / f"{stem}.nii.gz", image)
                    write_nifti(folder / f"{stem}_gt.nii.gz", labels)
    (tmp_path / "database" / "patient0001" / "Info_4CH.cfg").write_text(
        "ED: 1\nSex: F\nAge: 56\nEF: 54\nFrameRate: 48.4\n"
    )
    (tmp_path / "database" / "patient0002" / "Info_4CH.cfg").write_text("Sex: M\nLVef: 33.5\n")
    splits = tmp_path / "database_split"
    splits.mkdir()
    (splits / "subgroup_training.txt").write_text("patient0001\npatient0003\n")
    (splits / "subgroup_validation.txt").write_text("patient0002\n")
    return tmp_path


@pytest.fixture()
def archive(tmp_path: Path) -> Path:
    image, labels = drawn_image(0)
    shape = (2, 2, 2, HEIGHT, WIDTH)
    masks = np.broadcast_to(labels, shape).copy()
    masks[1, 0, 1] = 0
    np.savez(
        tmp_path / "camus224.npz",
        image=np.broadcast_to(image, shape),
        mask=masks,
        patient=np.array(["patient0009", "patient0004"]),
        split=np.array(["val", "train"]),
        view=np.array(["2CH", "4CH"]),
        phase=np.array(["ED", "ES"]),
    )
    (tmp_path / "patients_info.csv").write_text(
        "Patient,Sex,Age,ImageQuality,EF,FrameRate\npatient0009,M,61,Poor,41.5,50\n"
    )
    return tmp_path


@pytest.mark.parametrize("below", ["", "database"])
def test_official_layout(official: Path, below: str) -> None:
    dataset = open_camus(official / below)
    assert isinstance(dataset, CamusFolder)
    assert [(patient.name, patient.split) for patient in dataset.patients] == [
        ("patient0001", "train"),
        ("patient0002", "val"),
        ("patient0003", "train"),
    ]
    first, second, third = dataset.patients
    assert (first.sex, first.age_years, first.ejection_fraction_percent, first.frame_rate_hz) == ("F", 56, 54, 48.4)
    assert second.ejection_fraction_percent == 33.5
    assert third.ejection_fraction_percent is None
    images = list(read_images(dataset, "train"))
    assert [(image.patient.name, image.view, image.phase) for image in images] == [
        ("patient0001", View.A4C, "ED"),
        ("patient0001", View.A4C, "ES"),
        ("patient0001", View.A2C, "ED"),
        ("patient0001", View.A2C, "ES"),
        ("patient0003", View.A4C, "ED"),
        ("patient0003", View.A4C, "ES"),
    ]


@pytest.mark.parametrize("number", [1, 3], ids=["nifti", "meta image"])
def test_pixels_labels_and_spacing_are_by_row_and_column(official: Path, number: int) -> None:
    dataset = open_camus(official)
    image = dataset.read_image(dataset.patients[number - 1], View.A4C, "ES")
    assert image is not None
    pixels, labels = drawn_image(number)
    assert (image.pixels == pixels).all()
    assert (image.labels == labels).all()
    assert image.spacing is not None
    assert (image.spacing.column_mm, image.spacing.row_mm) == pytest.approx((0.3, 0.2))


def test_archive_layout(archive: Path) -> None:
    dataset = open_camus(archive)
    assert isinstance(dataset, CamusArchive)
    first, second = dataset.patients
    assert (first.name, second.name, second.split) == ("patient0004", "patient0009", "val")
    assert (second.ejection_fraction_percent, second.image_quality) == (41.5, "Poor")
    image = dataset.read_image(second, View.A4C, "ED")
    assert image is not None
    assert (image.labels == drawn_image(0)[1]).all()
    assert image.spacing is None
    assert "resized" in image.spacing_reason
    empty = dataset.read_image(first, View.A2C, "ES")
    assert empty is not None
    assert not empty.labels.any()


def test_a_folder_without_split_lists_says_so(official: Path) -> None:
    for path in (official / "database_split").iterdir():
        path.unlink()
    dataset = open_camus(official)
    assert len(select_patients(dataset, "all")) == 3
    with pytest.raises(CamusError, match=r"subgroup_validation.txt"):
        select_patients(dataset, "val")


def test_an_absent_split_is_an_error_not_an_empty_score(archive: Path) -> None:
    with pytest.raises(CamusError, match="no patient of the split 'test'"):
        select_patients(open_camus(archive), "test")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CamusError, match="neither"):
        open_camus(tmp_path)


def test_foreign_labels_are_refused(official: Path) -> None:
    _, labels = drawn_image(1)
    labels[0, 0] = 9
    write_nifti(official / "database" / "patient0001" / "patient0001_4CH_ED_gt.nii.gz", labels)
    dataset = open_camus(official)
    with pytest.raises(CamusError, match=r"\[9\] are not CAMUS labels"):
        dataset.read_image(dataset.patients[0], View.A4C, "ED")


def test_a_mask_of_another_size_is_refused(official: Path) -> None:
    write_nifti(official / "database" / "patient0001" / "patient0001_4CH_ED_gt.nii.gz", np.zeros((8, 8), np.uint8))
    dataset = open_camus(official)
    with pytest.raises(CamusError, match="its image"):
        dataset.read_image(dataset.patients[0], View.A4C, "ED")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "camus224.npz", image=np.zeros((1, 2, 2, 4, 4), np.uint8))
    with pytest.raises(CamusError, match=r"camus224\.npz"):
        open_camus(tmp_path)


def test_real_native_files() -> None:
    dataset = open_camus(shared_folder("camus_native_4ch"))
    assert len(dataset.patients) == 149
    image = dataset.read_image(dataset.patients[0], View.A4C, "ED")
    assert image is not None
    assert image.spacing is not None
    assert (image.spacing.row_mm, image.spacing.column_mm) == pytest.approx((0.308, 0.308), abs=1e-4)
    assert dataset.read_image(dataset.patients[0], View.A2C, "ED") is None
    rows = [
        np.argwhere(image.labels == int(structure))[:, 0].mean()
        for structure in (Structure.LV_CAVITY, Structure.LEFT_ATRIUM)
    ]
    assert rows[0] < rows[1], "in an apical view the atrium lies below the ventricle"


def test_real_archive() -> None:
    dataset = open_camus(shared_folder("camus224"))
    assert len(select_patients(dataset, "train")) == 400
    assert len(select_patients(dataset, "val")) == 50
    first = next(read_images(dataset, "val"))
    assert first.pixels.shape == (224, 224)
    assert set(np.unique(first.labels)) == {0, 1, 2, 3}
    assert first.patient.ejection_fraction_percent is not None
