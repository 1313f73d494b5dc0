"""The verifier of CAMUS: files, counts, splits, the kind of EF, spacing, and whether all images can be read."""

from __future__ import annotations

import numpy as np

from echoapex.data.datasets.camus import (
    ARCHIVE_FILE,
    PHASES,
    SPLITS,
    VIEW_NAMES,
    CamusArchive,
    CamusDataset,
    CamusError,
    CamusFolder,
    open_camus,
)
from echoapex.data.datasets.camus_patient import EF_SOURCES, CamusPatient, read_info, read_split_lists
from echoapex.data.datasets.inspection import Inspection
from echoapex.data.datasets.records import SplitTally
from echoapex.io.clip_source import ReadError
from echoapex.vocabulary import Structure, View

PUBLISHED_SPLITS = {"train": 400, "val": 50, "test": 50}
PUBLISHED_PATIENTS = sum(PUBLISHED_SPLITS.values())
_SOURCE = "Leclerc 2019"
_SAME_IN_BOTH_VIEWS = ("Sex", "Age", "EF", "LVef")
_DOWNLOAD = "download the folder of this patient again"


def inspect_camus(inspection: Inspection) -> None:
    """Check either layout.

    Raises:
        CamusError: the folder does not hold the layout at all.
    """
    dataset = open_camus(inspection.root)
    _inspect_splits(inspection, dataset)
    _inspect_ejection_fractions(inspection, dataset)
    inspection.counted["patients"] = len(dataset.patients)
    if isinstance(dataset, CamusArchive):
        expected = PUBLISHED_SPLITS["train"] + PUBLISHED_SPLITS["val"]
        inspection.compare_count("patients", expected, "train and val, the splits with public outlines in this file")
        problem = "it was resized unevenly to 224 x 224, so it has no pixel spacing"
        inspection.note("spacing", ARCHIVE_FILE, problem, "measure in mm on the NIfTI release instead")
    else:
        inspection.compare_count("patients", PUBLISHED_PATIENTS, _SOURCE)
    frames = _present_frames(inspection, dataset)
    inspection.counted["outlined views"] = inspection.usable
    for patient, view in inspection.chosen(frames):
        _inspect_view(inspection, dataset, patient, view)


def _inspect_splits(inspection: Inspection, dataset: CamusDataset) -> None:
    root = inspection.root
    if isinstance(dataset, CamusArchive):
        tally = SplitTally(inspection, root / ARCHIVE_FILE, SPLITS)
        for patient in dataset.patients:
            tally.add(patient.name, patient.name, patient.split)
        tally.compare({split: PUBLISHED_SPLITS[split] for split in ("train", "val")}, _SOURCE)
        return
    lists = read_split_lists(root)
    known = {patient.name for patient in dataset.patients}
    for split in SPLITS:
        if split not in lists:
            problem = f"the official list of the split {split} is not there"
            inspection.warn(
                "split list", f"subgroup_*.txt ({split})", problem, "put database_split beside the patients"
            )
            continue
        path, names = lists[split]
        tally_names = set(names)
        if len(tally_names) != PUBLISHED_SPLITS[split]:
            problem = f"names {len(tally_names)} patients, published are {PUBLISHED_SPLITS[split]} ({_SOURCE})"
            inspection.warn("count of a split", path, problem, "take the official list, unchanged")
        absent = tally_names - known
        if absent:
            problem = f"{len(absent)} of its patients are not in the folder ({', '.join(sorted(absent)[:3])}, ...)"
            inspection.warn("patients of a split", path, problem, "finish the download, or do not report this split")
    tally = SplitTally(inspection, root, ())
    for split, (_, names) in lists.items():
        for name in names:
            tally.add(name, name, split)
    if len(lists) == len(SPLITS):
        for name in sorted(known - {name for _, names in lists.values() for name in names}):
            inspection.error("patient without split", name, "is in no official list", "leave this patient out")


def _inspect_ejection_fractions(inspection: Inspection, dataset: CamusDataset) -> None:
    keys = {patient.ejection_fraction_key for patient in dataset.patients}
    named = [source for key, source in EF_SOURCES.items() if key in keys]
    if len(named) > 1:
        problem = f"patients have different references of EF: {' and '.join(named)}"
        inspection.error("two references of EF", ".", problem, "keep the releases apart; their EF must not be mixed")
    elif named:
        problem = f"its ejection fraction is the {named[0]}; discs on its outlines give another one"
        inspection.note("reference of EF", ".", problem, "say in a report which reference was used")
    without = sum(not patient.ejection_fraction_key for patient in dataset.patients)
    if without:
        problem = f"{without} of {len(dataset.patients)} patients have no EF (Info_4CH.cfg is missing, or has none)"
        inspection.note("patients without EF", ".", problem, "add the Info_*.cfg files of the release")


def _present_frames(inspection: Inspection, dataset: CamusDataset) -> list[tuple[CamusPatient, View]]:
    if isinstance(dataset, CamusArchive):
        inspection.usable = len(dataset.patients) * len(VIEW_NAMES)
        return [(patient, view) for patient in dataset.patients for view in VIEW_NAMES]
    frames: list[tuple[CamusPatient, View]] = []
    assert isinstance(dataset, CamusFolder)
    for patient in dataset.patients:
        folder = dataset.folder_of(patient)
        infos = [read_info(folder, name) for name in VIEW_NAMES.values()]
        for key in _SAME_IN_BOTH_VIEWS:
            values = {info[key] for info in infos if key in info}
            if len(values) > 1:
                problem = f"{key} is {' and '.join(sorted(values))} in its two Info files"
                inspection.error("Info files disagree", folder, problem, _DOWNLOAD)
        for view in VIEW_NAMES:
            found = dataset.frame_files(patient, view)
            missing = [phase for phase in PHASES if phase not in found]
            if missing:
                problem = f"lacks image or outline of {VIEW_NAMES[view]} {' and '.join(missing)}"
                inspection.error("missing frame", folder, problem, _DOWNLOAD)
            if found:
                inspection.usable += 1
                frames.append((patient, view))
    return frames


def _inspect_view(inspection: Inspection, dataset: CamusDataset, patient: CamusPatient, view: View) -> None:
    name = f"{patient.name} {VIEW_NAMES[view]}"
    areas: dict[str, int] = {}
    for phase in PHASES:
        try:
            image = dataset.read_image(patient, view, phase)
        except (CamusError, ReadError) as error:
            inspection.error("unreadable frame", name, str(error), _DOWNLOAD)
            continue
        if image is None:
            continue
        if image.spacing is None and isinstance(dataset, CamusFolder):
            inspection.warn("spacing", name, f"{phase}: {image.spacing_reason}", "nothing in it is given in mm")
        areas[phase] = int(np.count_nonzero(image.labels == int(Structure.LV_CAVITY)))
        if not areas[phase]:
            inspection.warn("empty outline", name, f"{phase}: the LV cavity is not outlined", "leave this view out")
    if len(areas) == len(PHASES) and 0 < areas["ED"] <= areas["ES"]:
        problem = "the outlined LV is not larger at ED than at ES"
        inspection.warn("phases", name, problem, "look at it: ED and ES may be exchanged")
