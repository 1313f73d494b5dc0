"""Phantom studies as a reference: reads what ``echoapex phantom`` wrote."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from echoapex.evaluate.reference import ReferenceClip, ReferenceSet, ReferenceSetError, ReferenceStudy, traits_of
from echoapex.measure import WallThickness, lv_mass_g
from echoapex.phantom.truth import TRUTH_FILE, ClipTruth, StudyTruth, read_label_maps, read_truth
from echoapex.vocabulary import VISIBLE_STRUCTURES, Quantity, View

_TRUE_VOLUME = "volume of the simulated 3D left ventricle"


def read_phantom_reference(root: Path, *, split: str = "") -> ReferenceSet:
    """Read every phantom study below ``root`` (or ``root`` itself).

    Args:
        root: folder of study folders, or one study folder.
        split: ``"train"`` or ``"held_out"`` keeps only studies of those seeds; ``""`` keeps all.

    Raises:
        ReferenceSetError: no such study.
        TruthError: a truth file is damaged.
    """
    if split not in ("", "train", "held_out"):
        raise ReferenceSetError(f"split {split!r}: phantom studies are split into 'train' and 'held_out'")
    folders = phantom_studies(root)
    truths = [(folder, read_truth(folder)) for folder in folders]
    chosen = [(folder, truth) for folder, truth in truths if not split or truth.held_out == (split == "held_out")]
    if not chosen:
        raise ReferenceSetError(
            f"{root}: holds no {split or 'phantom'} study with a {TRUTH_FILE}; write some with 'echoapex phantom'"
        )
    return ReferenceSet(
        dataset="phantom",
        split=split,
        studies=tuple(_reference_study(folder, truth) for folder, truth in chosen),
        ejection_fraction_source=_TRUE_VOLUME,
        discs_source=_TRUE_VOLUME,
    )


def phantom_studies(root: Path) -> list[Path]:
    """Folders of finished phantom studies: ``root`` itself or its direct sub-folders, sorted."""
    if (root / TRUTH_FILE).is_file():
        return [root]
    return sorted(path.parent for path in root.glob(f"[!.]*/{TRUTH_FILE}"))


def phantom_patient(seed: int) -> str:
    """Name of the patient of a seed."""
    return f"phantom-{seed}"


def _reference_study(folder: Path, truth: StudyTruth) -> ReferenceStudy:
    values = {
        Quantity.LVEF: truth.ejection_fraction_percent,
        Quantity.LVEF_DISCS: truth.ejection_fraction_percent,
        Quantity.EDV: truth.edv_ml,
        Quantity.ESV: truth.esv_ml,
    }
    plax = truth.find(View.PLAX)
    if plax is not None and plax.walls is not None:
        values |= {
            quantity: plax.walls.value_mm(quantity) for quantity in (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD)
        }
        walls = WallThickness(*(values[quantity] for quantity in (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD)))
        values[Quantity.LV_MASS_INDEX] = lv_mass_g(walls) / truth.patient.bsa_m2
    return ReferenceStudy(
        patient=phantom_patient(truth.seed),
        clips=tuple(_reference_clip(folder, clip) for clip in truth.clips),
        values=values,
        traits=traits_of(truth.patient.sex, truth.patient.age_years, frame_rate_hz=_frame_rate_hz(truth)),
    )


def _frame_rate_hz(truth: StudyTruth) -> float | None:
    """Median over the clips."""
    rates = [1 / float(np.median(np.diff(clip.frame_times_s))) for clip in truth.clips if len(clip.frame_times_s) > 1]
    return float(np.median(rates)) if rates else None


def _reference_clip(folder: Path, clip: ClipTruth) -> ReferenceClip:
    return ReferenceClip(
        name=f"{folder.name}/{clip.file}",
        path=folder / clip.file,
        sha256=clip.sha256,
        view=clip.view,
        frame_times_s=clip.frame_times_s,
        structures=VISIBLE_STRUCTURES[clip.view],
        read_labels=partial(read_label_maps, folder / clip.label_file),
    )
