"""The truth of a public data set, or of your own folder: its own files are analysed, its lists give the truth.

Nothing is copied or converted. A file is left out if it is missing, unreadable, a duplicate, or of another size than
the list says; ``ReferenceSet.notes`` reports this. A value that no analysis could measure is not scored: lengths and
volumes need a pixel size.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from echoapex.data.datasets import DATASETS, Dataset, DatasetClip
from echoapex.data.datasets.records import ALL
from echoapex.domain import ClipHeader
from echoapex.evaluate.reference import (
    LabelMaps,
    ReferenceClip,
    ReferenceSet,
    ReferenceSetError,
    ReferenceStudy,
    traits_of,
)
from echoapex.io.clip_source import ReadError
from echoapex.io.study_files import open_only_clip
from echoapex.vocabulary import Quantity, Structure

QUANTITIES = (Quantity.LVEF, Quantity.EDV, Quantity.ESV, Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD)
"""Study-level values that are scored if a data set has them."""

StudyName = tuple[str, str]
"""Patient and study; the study is empty if each patient has one study."""


def _one_video(record: DatasetClip) -> StudyName:
    """The study of a clip if each video was measured on its own."""
    patient = record.patient or record.name
    return patient, "" if record.name.startswith(patient) else record.name


def _labelled_study(record: DatasetClip) -> StudyName:
    """The study of a clip; without study names, all clips of a patient are one study."""
    patient = record.patient or record.labels.get("clip") or record.name
    study = record.labels.get("study", "")
    return patient, study if study.startswith(patient) or not study else f"{patient} {study}"


@dataclass(frozen=True)
class Scoring:
    """How a data set is scored.

    Attributes:
        split: the split that is scored by default.
        study_of: the study of a clip; each value of a study is one case.
        label_structures: the structures in its label files; polygons name their structure themselves.
        only_known_views: leave out clips without a known view.
        notes: what is never scored, and why.
    """

    split: str
    study_of: Callable[[DatasetClip], StudyName] = _labelled_study
    label_structures: tuple[Structure, ...] = ()
    only_known_views: bool = False
    notes: tuple[str, ...] = ()


SCORED: dict[str, Scoring] = {
    "echonet_dynamic": Scoring("TEST", _one_video),
    "echonet_pediatric": Scoring(
        ALL,
        _one_video,
        only_known_views=True,
        notes=("videos in PSAX are not scored: their level is unknown, and volumes are measured in apical views",),
    ),
    "echonet_lvh": Scoring(
        "test",
        _one_video,
        notes=("the pixel size that is given to the analysis was recovered from the measured lines themselves",),
    ),
    "tmed2": Scoring("test", notes=("images labelled PSAX (level unknown) or A4CorA2CorOther have no view to score",)),
    "mimic_iv_echo": Scoring(ALL, notes=("views are not scored, because the data set does not give them",)),
    "unity": Scoring(ALL, notes=("walls are not scored, because the wall points have no scale in millimetres",)),
    "hmc_qu": Scoring(ALL, label_structures=(Structure.LV_MYOCARDIUM,)),
    "folder": Scoring(ALL),
    "corrections": Scoring("val"),
}
"""How each data set is scored whose files are analysed directly (CAMUS is packed first)."""


@dataclass
class _Reading:
    """Counts of what was left out so far, and digests of the files that were used."""

    left_out: Counter[str] = field(default_factory=Counter)
    taken: set[str] = field(default_factory=set)


def read_dataset_reference(name: str, root: Path, split: str = "") -> ReferenceSet:
    """Read the truth of every listed clip of a split that has a truth.

    Args:
        name: a key of :data:`SCORED`.
        root: folder of the data set in its official layout.
        split: one of its splits (upper or lower case), or ``all``; by default that of its :class:`Scoring`.

    Raises:
        DatasetError: the folder or a table cannot be read, or the split is unknown.
        ReferenceSetError: nothing can be scored, clips of one study contradict each other, or two studies have the
            same name.
    """
    scoring, dataset, reading = SCORED[name], DATASETS[name].open(root), _Reading()
    split = _official_name(dataset, split or scoring.split)
    groups: defaultdict[StudyName, list[DatasetClip]] = defaultdict(list)
    for record in dataset.records(split):
        if record.view is not None or not scoring.only_known_views:
            groups[scoring.study_of(record)].append(record)
    found = (_read_study(each, records, scoring, reading) for each, records in groups.items())
    studies = tuple(study for study in found if study is not None)
    left_out = (f"{count} {what}" for what, count in sorted((+reading.left_out).items()))
    notes = (*scoring.notes, *_mixed_splits(groups.values()), *left_out)
    if not studies:
        raise ReferenceSetError(
            f"{root}: nothing of the split {split!r} can be scored ({'; '.join(notes) or 'it lists no clip'}); "
            f"check it with 'echoapex datasets verify {name}'"
        )
    _require_own_names(studies)
    sources = {one.source for records in groups.values() for each in records for one in each.references}
    return ReferenceSet(
        dataset=name,
        split=split,
        studies=studies,
        ejection_fraction_source="; ".join(sorted(sources)),
        discs_source="; ".join(sorted(sources)),
        notes=notes,
    )


def _mixed_splits(groups: Iterable[Sequence[DatasetClip]]) -> tuple[str, ...]:
    """A note if several splits are scored together, because weights may have been trained on one of them."""
    splits = sorted({record.split for records in groups for record in records if record.split})
    if len(splits) < 2:
        return ()
    return (f"clips of the splits {', '.join(splits)} are scored together: use --split for weights trained on one",)


def _require_own_names(studies: Sequence[ReferenceStudy]) -> None:
    """Refuse studies with the same name, because their results could be confused."""
    doubled = sorted(name for name, count in Counter(study.key for study in studies).items() if count > 1)
    if doubled:
        raise ReferenceSetError(
            f"{doubled[0]}: several studies (or a study and a patient) have this name; give each study its own name in "
            "the column study"
        )


def _official_name(dataset: Dataset, split: str) -> str:
    """The official name of a split, ignoring case; the data set refuses an unknown one."""
    return {name.lower(): name for name in (*dataset.split_names, ALL)}.get(split.lower(), split)


def _read_study(
    name: StudyName, records: Sequence[DatasetClip], scoring: Scoring, reading: _Reading
) -> ReferenceStudy | None:
    """Read a study with its truth; None if nothing in it can be scored."""
    has_values = any(record.value(quantity) is not None for record in records for quantity in QUANTITIES)
    wanted = [record for record in records if has_values or record.view is not None or _structures(record, scoring)]
    reading.left_out["clips have no truth that is scored"] += len(records) - len(wanted)
    opened = [(header, record) for record in wanted if (header := _open(record, reading)) is not None]
    clips = tuple(_reference_clip(header, record, scoring, reading) for header, record in opened)
    values = _study_values(name, opened, reading)
    if not values and not any(clip.view is not None or clip.structures for clip in clips):
        return None
    patient, study = name
    return ReferenceStudy(patient, clips, values, _traits(opened), study)


def _open(record: DatasetClip, reading: _Reading) -> ClipHeader | None:
    """Read the header of a clip; None if the clip must be left out."""
    if not record.path.exists():
        reading.left_out["listed clips are not there"] += 1
        return None
    try:
        header = open_only_clip(record.path).header
    except ReadError:
        reading.left_out["clips cannot be read"] += 1
        return None
    if record.size is not None and header.size != record.size:
        reading.left_out["clips are of another size than the list says"] += 1
        return None
    digest = header.source["sha256"]
    if digest in reading.taken:
        reading.left_out["clips are there twice, and scored once"] += 1
        return None
    reading.taken.add(digest)
    return header


def _structures(record: DatasetClip, scoring: Scoring) -> tuple[Structure, ...]:
    if record.label_source is not None:
        return record.outlined or scoring.label_structures
    return tuple(dict.fromkeys(outline.structure for outline in record.outlines))


def _reference_clip(header: ClipHeader, record: DatasetClip, scoring: Scoring, reading: _Reading) -> ReferenceClip:
    inside = tuple(outline for outline in record.outlines if 0 <= outline.frame < header.frame_count)
    reading.left_out["outlines lie beyond the last frame"] += len(record.outlines) - len(inside)
    record = replace(record, size=header.size, outlines=inside)
    labels = record.read_labels() if record.label_source is not None else {outline.frame: None for outline in inside}
    return ReferenceClip(
        name=record.name,
        path=record.path,
        sha256=header.source["sha256"],
        view=record.view,
        frame_times_s=header.frame_times_s,
        structures=_structures(record, scoring),
        read_labels=partial(_labels_within, record, header.frame_count),
        outlined_frames=tuple(frame for frame in labels if frame < header.frame_count),
        spacing=record.spacing if header.spacing is None else None,
    )


def _labels_within(record: DatasetClip, frame_count: int) -> LabelMaps:
    return {frame: labels for frame, labels in record.read_labels().items() if frame < frame_count}


def _study_values(
    name: StudyName, opened: Sequence[tuple[ClipHeader, DatasetClip]], reading: _Reading
) -> dict[Quantity, float]:
    values: dict[Quantity, float] = {}
    for quantity in QUANTITIES:
        given = [
            (value, record, header.spacing or record.spacing)
            for header, record in opened
            if (value := record.value(quantity)) is not None
        ]
        if not given:
            continue
        if len({value for value, _, _ in given}) > 1:
            raise ReferenceSetError(_contradiction(name, quantity, [(value, record) for value, record, _ in given]))
        if quantity.needs_spacing and not any(spacing for _, _, spacing in given):
            reading.left_out[f"values of {quantity.display_name} have no pixel size to measure them with"] += 1
            continue
        values[quantity] = given[0][0]
    if Quantity.LVEF in values:
        values[Quantity.LVEF_DISCS] = values[Quantity.LVEF]
    return values


def _contradiction(name: StudyName, quantity: Quantity, given: Iterable[tuple[float, DatasetClip]]) -> str:
    values = ", ".join(f"{value:g} ({record.name})" for value, record in given)
    return (
        f"{name[1] or name[0]}: its clips give several values of {quantity.display_name}: {values}; "
        "distinguish the studies of a patient in a column study"
    )


def _traits(opened: Sequence[tuple[ClipHeader, DatasetClip]]) -> dict[str, str]:
    """Sex, age and frame rate, from the first clip."""
    if not opened:
        return {}
    header, record = opened[0]
    rate_hz = None
    if header.frame_count > 1 and header.frame_times_known:
        rate_hz = (header.frame_count - 1) / (header.frame_times_s[-1] - header.frame_times_s[0])
    years = record.labels.get("age_years", "")
    age = int(float(years)) if years.replace(".", "", 1).isdigit() else None
    return traits_of(record.labels.get("sex"), age, frame_rate_hz=rate_hz)
