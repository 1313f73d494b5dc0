"""A frame store in which most clips show one view, made by one vendor: phantom patients, ingested as any archive is."""

from __future__ import annotations

from pathlib import Path

import pydicom

from echoapex.data.ingest.ingest import IngestPlan, ingest
from echoapex.data.ingest.plan import IngestRules
from echoapex.io.dicom.writer import UltrasoundSyntax
from echoapex.io.local_engine import InlineEngine
from echoapex.phantom.study import StudyPlan, write_study
from echoapex.vocabulary import View

FRAMES_PER_CLIP = 6
COMMON, RARE = View.A4C, View.PLAX


def write_imbalanced_store(folder: Path, common: int = 6, copied: bool = True) -> Path:
    """Ingest ``common`` patients seen in A4C and one in PLAX, the last two made by another vendor.

    Args:
        folder: for archive and store.
        common: patients of the common view.
        copied: whether the first clip was exported once more, with its pixels stored otherwise.

    Returns:
        The store.
    """
    plans = [(seed, COMMON) for seed in range(common)] + [(common, RARE)]
    for seed, view in plans:
        _write(folder / "archive" / f"{seed}", seed, view, "GE Vingmed" if seed >= common - 1 else "Philips")
    if copied:
        _write(folder / "archive" / "copy", 0, COMMON, "Philips", UltrasoundSyntax.EXPLICIT)
    rules = IngestRules(size=192, max_frames=FRAMES_PER_CLIP, val_percent=0)
    ingest(IngestPlan((folder / "archive",), folder / "frames", folder / "frames.key", rules), InlineEngine())
    return folder / "frames"


def _write(
    folder: Path, seed: int, view: View, vendor: str, syntax: UltrasoundSyntax = UltrasoundSyntax.JPEG_BASELINE
) -> None:
    write_study(folder, seed, StudyPlan(views=(view,), size=128, syntax=syntax))
    for path in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.Manufacturer = vendor
        dataset.save_as(path)
