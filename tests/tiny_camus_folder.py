"""A tiny CAMUS of simulated hearts in the official layout: NIfTI or MetaImage, Info files and split lists."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from echoapex.phantom import PhantomClip, simulate_clip
from echoapex.vocabulary import View

SIDE = 96
VIEWS = {"2CH": View.A2C, "4CH": View.A4C}
SPLITS = {"patient0001": "training", "patient0002": "validation", "patient0003": "testing"}
CAMUS_LABELS = 3


def write_tiny_camus_folder(root: Path, *, is_nifti: bool = True) -> dict[str, PhantomClip]:
    """Three patients in ``database_nifti`` (or ``training``); returns the simulated clip of each patient and view."""
    clips: dict[str, PhantomClip] = {}
    database = root / ("database_nifti" if is_nifti else "training")
    for seed, patient in enumerate(SPLITS):
        folder = database / patient
        folder.mkdir(parents=True)
        for name, view in VIEWS.items():
            clip = simulate_clip(view, seed, size=SIDE, frames=8, label_frames="ed_es")
            clips[f"{patient}_{name}"] = clip
            for phase, frame in (("ED", clip.ed_frame), ("ES", clip.es_frame)):
                labels = np.where(clip.labels[frame] <= CAMUS_LABELS, clip.labels[frame], 0).astype(np.uint8)
                write = write_nifti if is_nifti else write_meta_image
                write(folder / f"{patient}_{name}_{phase}", clip.frames[frame], clip.spacing.row_mm)
                write(folder / f"{patient}_{name}_{phase}_gt", labels, clip.spacing.row_mm)
            (folder / f"Info_{name}.cfg").write_text(info(clip, is_nifti))
    lists = root / "database_split"
    lists.mkdir()
    for patient, part in SPLITS.items():
        (lists / f"subgroup_{part}.txt").write_text(f"{patient}\n")
    return clips


def info(clip: PhantomClip, is_nifti: bool) -> str:
    common = f"ED: 1\nES: 5\nNbFrame: 8\nSex: {clip.patient.sex}\nAge: {clip.patient.age_years}\nImageQuality: Good\n"
    if is_nifti:
        return f"{common}EF: {clip.ejection_fraction_percent:.3f}\nFrameRate: 48.4\n"
    return f"{common}LVedv: {clip.edv_ml:.3f}\nLVesv: {clip.esv_ml:.3f}\nLVef: {clip.ejection_fraction_percent:.3f}\n"


def write_nifti(stem: Path, array: np.ndarray, mm: float) -> None:
    image = nibabel.Nifti1Image(array.T.copy(), np.diag([mm, mm, 1, 1]))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, f"{stem}.nii.gz")


def write_meta_image(stem: Path, array: np.ndarray, mm: float) -> None:
    stem.with_name(f"{stem.name}.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        f"DimSize = {array.shape[1]} {array.shape[0]} 1\nElementSpacing = {mm} {mm} 1\nElementType = MET_UCHAR\n"
        f"ElementDataFile = {stem.name}.raw\n"
    )
    stem.with_name(f"{stem.name}.raw").write_bytes(array.tobytes())
