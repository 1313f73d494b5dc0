"""The truth of CAMUS and of phantom studies.

CAMUS outlines two frames of each view. These are packed into a clip of two frames, ED and ES, which ``analyze`` can
read: lossless DICOM with the spacing that CAMUS gives (none for ``camus224.npz``). The same data give the same bytes,
so that results written earlier still match.

Phantom studies are read as ``echoapex phantom`` wrote them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from echoapex.data.datasets.camus import (
    PHASES,
    STRUCTURES,
    VIEW_NAMES,
    CamusDataset,
    CamusImage,
    Split,
    open_camus,
    select_patients,
)
from echoapex.data.datasets.camus_patient import EF_SOURCES, CamusPatient
from echoapex.domain import Clip, ClipHeader
from echoapex.evaluate.cases import METHOD, LongAxisPlane, ejection_fraction_of_outlines
from echoapex.evaluate.reference import (
    LabelMaps,
    ReferenceClip,
    ReferenceSet,
    ReferenceSetError,
    ReferenceStudy,
    WrittenMasks,
    traits_of,
)
from echoapex.io.dicom.writer import FictitiousStudy, UltrasoundSyntax, write_ultrasound
from echoapex.measure import WallThickness, lv_mass_g
from echoapex.phantom.truth import TRUTH_FILE, ClipTruth, StudyTruth, read_label_maps, read_truth
from echoapex.vocabulary import VISIBLE_STRUCTURES, Quantity, View

NOMINAL_ED_TO_ES_S = 0.35
"""Time between the two frames of a packed clip; CAMUS stills have no times, and no score depends on it."""

_TRUE_VOLUME = "volume of the simulated 3D left ventricle"


def pack_camus(root: Path, split: Split | str, inputs: Path) -> ReferenceSet:
    """Write ``inputs/<patient>/<view>.dcm`` for every patient of a split, and return the truth.

    Args:
        root: folder of CAMUS, in either layout (:mod:`echoapex.data.datasets.camus`).
        split: the official split, or ``all``.
        inputs: folder for the study folders; one study is one patient.

    Raises:
        CamusError: the data set cannot be read.
        ReferenceSetError: no patient of the split has an outlined frame.
    """
    dataset = open_camus(root)
    patients = select_patients(dataset, split)
    studies = [_pack_patient(dataset, patient, inputs / patient.name) for patient in patients]
    outlined = tuple(study for study in studies if study.clips)
    if not outlined:
        raise ReferenceSetError(f"{root}: no patient of the split {split!r} has an outlined frame; check the files")
    return ReferenceSet(
        dataset="camus",
        split=split,
        studies=outlined,
        ejection_fraction_source=_released_ejection_fraction(patients),
        discs_source=f"CAMUS outlines, {METHOD}",
        ejection_fraction_method=Quantity.LVEF_DISCS,
        derive_values=_discs_on_written_masks,
    )


def read_phantom_reference(root: Path, *, split: str = "") -> ReferenceSet:
    """Read all phantom studies below ``root`` (or ``root`` itself).

    Args:
        root: folder of study folders, or one study folder.
        split: ``"train"`` or ``"held_out"`` keeps only the studies of that split; ``""`` keeps all.

    Raises:
        ReferenceSetError: there is no such study.
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
    """Folders of finished phantom studies: ``root`` itself, or its direct sub-folders, sorted."""
    if (root / TRUTH_FILE).is_file():
        return [root]
    return sorted(path.parent for path in root.glob(f"[!.]*/{TRUTH_FILE}"))


def phantom_patient(seed: int) -> str:
    """The patient name of a seed."""
    return f"phantom-{seed}"


def _pack_patient(dataset: CamusDataset, patient: CamusPatient, folder: Path) -> ReferenceStudy:
    clips: list[ReferenceClip] = []
    planes: list[LongAxisPlane] = []
    for instance, view in enumerate(VIEW_NAMES, start=1):
        found = (dataset.read_image(patient, view, phase) for phase in PHASES)
        images = [image for image in found if image is not None]
        if images:
            clips.append(_pack_clip(dataset, images, folder / f"{view}.dcm", instance))
            plane = _long_axis_plane(images)
            planes += [plane] if plane else []
    values: dict[Quantity, float] = {}
    if patient.ejection_fraction_percent is not None:
        values[Quantity.LVEF] = patient.ejection_fraction_percent
    discs = ejection_fraction_of_outlines(planes)
    if discs is not None:
        values[Quantity.LVEF_DISCS] = discs
    traits = traits_of(patient.sex, patient.age_years, patient.image_quality, None, patient.frame_rate_hz)
    return ReferenceStudy(patient.name, tuple(clips), values, traits)


def _pack_clip(dataset: CamusDataset, images: Sequence[CamusImage], path: Path, instance: int) -> ReferenceClip:
    first = images[0]
    if any(image.pixels.shape != first.pixels.shape for image in images):
        raise ReferenceSetError(f"{first.patient.name} {first.view}: ED and ES differ in size; fetch both again")
    header = ClipHeader(
        clip_id=f"{first.patient.name}-{first.view}",
        size=(first.pixels.shape[0], first.pixels.shape[1]),
        frame_times_s=tuple(NOMINAL_ED_TO_ES_S * index for index in range(len(images))),
        spacing=first.spacing,
        spacing_reason=first.spacing_reason,
    )
    study = FictitiousStudy(
        number=int("".join(filter(str.isdigit, first.patient.name))),
        origin="BENCHMARK",
        sex=first.patient.sex or "",
        scanner="CAMUS",
        software="CAMUS",
    )
    frames = np.stack([image.pixels for image in images])
    write_ultrasound(path, Clip(header, frames), study, instance=instance, syntax=UltrasoundSyntax.EXPLICIT)
    return ReferenceClip(
        name=f"{first.patient.name}/{path.name}",
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        view=first.view,
        frame_times_s=header.frame_times_s,
        structures=STRUCTURES,
        read_labels=partial(_read_labels, dataset, first.patient, first.view),
    )


def _read_labels(dataset: CamusDataset, patient: CamusPatient, view: View) -> LabelMaps:
    found = (dataset.read_image(patient, view, phase) for phase in PHASES)
    return {index: image.labels for index, image in enumerate(image for image in found if image is not None)}


def _long_axis_plane(images: Sequence[CamusImage]) -> LongAxisPlane | None:
    if len(images) != len(PHASES):
        return None
    end_diastole, end_systole = images
    return LongAxisPlane(end_diastole.labels, end_systole.labels, end_diastole.spacing)


def _released_ejection_fraction(patients: Sequence[CamusPatient]) -> str:
    """Which of the two released EF values of CAMUS is used, in words."""
    keys = {patient.ejection_fraction_key for patient in patients}
    named = [source for key, source in EF_SOURCES.items() if key in keys]
    return f"ejection fraction of the CAMUS release ({' and '.join(named) or 'none'})"


def _discs_on_written_masks(written: Sequence[WrittenMasks]) -> dict[Quantity, float]:
    """The method of discs on the written masks; frame 0 is ED and frame 1 is ES, as packed."""
    planes = [
        LongAxisPlane(clip.labels[0], clip.labels[1], clip.spacing) for clip in written if {0, 1} <= set(clip.labels)
    ]
    fraction = ejection_fraction_of_outlines(planes)
    return {} if fraction is None else {Quantity.LVEF_DISCS: fraction}


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


def _frame_rate_hz(truth: StudyTruth) -> float | None:
    """Median frame rate over the clips."""
    rates = [1 / float(np.median(np.diff(clip.frame_times_s))) for clip in truth.clips if len(clip.frame_times_s) > 1]
    return float(np.median(rates)) if rates else None
