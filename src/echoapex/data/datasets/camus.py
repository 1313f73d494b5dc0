"""CAMUS: apical four- and two-chamber views of 500 patients, outlined by a cardiologist at ED and ES.

Leclerc et al., IEEE TMI 2019, doi 10.1109/TMI.2019.2900516; CC BY-NC-SA 4.0, non-commercial research. Two layouts are
read:

* the official one, a folder per patient with ``patient0001_4CH_ED.nii.gz`` and ``..._gt.nii.gz`` (or ``.mhd``), with
  or without ``Info_4CH.cfg``; splits come from the official lists ``subgroup_training.txt``,
  ``subgroup_validation.txt`` and ``subgroup_testing.txt`` (400, 50 and 50 patients);
* ``camus224.npz`` with arrays ``image`` and ``mask`` uint8 (patient, view, phase, 224, 224), and ``patient``,
  ``split``, ``view``, ``phase`` naming the axes. It was resized unevenly, so it has no spacing.

CAMUS' labels 1, 2, 3 (LV cavity, LV myocardium, left atrium) are those of :class:`echoapex.vocabulary.Structure`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np
from jaxtyping import UInt8

from echoapex.data.datasets.camus_patient import (
    PATIENT_TABLE,
    SPLIT_FILES,
    CamusPatient,
    build_patient,
    read_info,
    read_patient_table,
    read_split_lists,
)
from echoapex.data.datasets.records import ALL, DatasetClip, DatasetError, LabelMaps, require_split
from echoapex.domain import Spacing
from echoapex.vocabulary import Structure, View

if TYPE_CHECKING:
    from echoapex.io.volume import Volume

Phase = Literal["ED", "ES"]
Split = Literal["train", "val", "test", "all"]

PHASES: tuple[Phase, ...] = get_args(Phase)
VIEW_NAMES = {View.A4C: "4CH", View.A2C: "2CH"}
STRUCTURES = (Structure.LV_CAVITY, Structure.LV_MYOCARDIUM, Structure.LEFT_ATRIUM)
ARCHIVE_FILE = "camus224.npz"
SPLITS = tuple(SPLIT_FILES)
_SUFFIXES = (".nii.gz", ".mhd")
_UNEVEN_RESIZE = f"{ARCHIVE_FILE} was resized unevenly, which lost the pixel spacing"


class CamusError(DatasetError):
    """A CAMUS folder that cannot be read; the message names the file and the remedy."""


@dataclass(frozen=True, eq=False)
class CamusImage:
    """One annotated frame.

    Attributes:
        patient: whose heart it is.
        view: A4C or A2C.
        phase: ED or ES.
        pixels: grey frame.
        labels: :class:`Structure` values, same size.
        spacing: calibrated pixel size, or None; then ``spacing_reason`` says why.
    """

    patient: CamusPatient
    view: View
    phase: Phase
    pixels: UInt8[np.ndarray, "height width"]
    labels: UInt8[np.ndarray, "height width"]
    spacing: Spacing | None
    spacing_reason: str = ""


class CamusDataset(Protocol):
    """CAMUS in either layout."""

    @property
    def split_names(self) -> tuple[str, ...]:
        """The official splits."""
        ...

    @property
    def patients(self) -> tuple[CamusPatient, ...]:
        """All patients, in order of their names."""
        ...

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
        """One record per patient and view that has an outlined frame; frame 0 is ED, frame 1 is ES.

        Raises:
            DatasetError: the split is unknown, or not in this folder.
        """
        ...

    def read_image(self, patient: CamusPatient, view: View, phase: Phase) -> CamusImage | None:
        """One annotated frame, or None where the data set lacks it.

        Raises:
            CamusError: its files do not hold what CAMUS files hold.
            ReadError: they are damaged.
        """
        ...


def open_camus(root: Path) -> CamusDataset:
    """Open the folder of either layout.

    Raises:
        CamusError: ``root`` holds neither layout.
    """
    if (root / ARCHIVE_FILE).is_file():
        return CamusArchive(root)
    return CamusFolder(root)


def select_patients(dataset: CamusDataset, split: Split | str) -> tuple[CamusPatient, ...]:
    """The patients of an official split, or all.

    Raises:
        CamusError: the split is unknown, or the data set does not say who belongs to it.
    """
    if split not in get_args(Split):
        raise CamusError(f"split {split!r} is none of {', '.join(get_args(Split))}")
    if split == "all":
        return dataset.patients
    if all(patient.split is None for patient in dataset.patients):
        raise CamusError(
            f"the folder does not tell the split {split!r}; put the official {SPLIT_FILES[split]} beside the "
            "patients, or use the split 'all'"
        )
    chosen = tuple(patient for patient in dataset.patients if patient.split == split)
    if not chosen:
        raise CamusError(f"no patient of the split {split!r} is in this folder; check the path")
    return chosen


def read_images(dataset: CamusDataset, split: Split | str) -> Iterator[CamusImage]:
    """Every annotated frame of a split: patient by patient, A4C before A2C, ED before ES."""
    for patient in select_patients(dataset, split):
        for view in VIEW_NAMES:
            for phase in PHASES:
                image = dataset.read_image(patient, view, phase)
                if image is not None:
                    yield image


class CamusArchive:
    """CAMUS as ``camus224.npz``, held in memory (about 180 MB)."""

    split_names = SPLITS

    def __init__(self, root: Path) -> None:
        path = self._path = root / ARCHIVE_FILE
        try:
            with np.load(path, allow_pickle=False) as arrays:
                self._images, self._masks = arrays["image"], arrays["mask"]
                names, splits = arrays["patient"].tolist(), arrays["split"].tolist()
                self._views, self._phases = arrays["view"].tolist(), arrays["phase"].tolist()
        except (OSError, KeyError, ValueError) as error:
            raise CamusError(f"{path}: cannot be read as CAMUS ({error}); fetch it again") from error
        axes = (len(names), len(self._views), len(self._phases))
        if self._images.shape[:3] != axes or self._masks.shape != self._images.shape:
            raise CamusError(
                f"{path}: image {self._images.shape} and mask {self._masks.shape} do not fit the axes {axes}"
            )
        table = read_patient_table(root / PATIENT_TABLE)
        self._row = {name: row for row, name in enumerate(names)}
        self.patients: tuple[CamusPatient, ...] = tuple(
            build_patient(name, split, table.get(name, {})) for name, split in sorted(zip(names, splits, strict=True))
        )

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
        """One record per patient and view; ``path`` is the archive."""
        require_split(split, SPLITS)
        for patient in select_patients(self, split):
            for view in VIEW_NAMES:
                yield _record(self, patient, view, self._path, None)

    def read_image(self, patient: CamusPatient, view: View, phase: Phase) -> CamusImage | None:
        """One annotated frame, 224 x 224."""
        index = (self._row[patient.name], self._views.index(VIEW_NAMES[view]), self._phases.index(phase))
        labels = _checked_labels(self._masks[index], f"{patient.name} {VIEW_NAMES[view]} {phase}")
        return CamusImage(patient, view, phase, self._images[index], labels, None, _UNEVEN_RESIZE)


class CamusFolder:
    """CAMUS in the official layout, read from disk frame by frame."""

    split_names = SPLITS

    def __init__(self, root: Path) -> None:
        folders = sorted(path for path in root.rglob("patient[0-9]*") if path.is_dir())
        if not folders:
            raise CamusError(
                f"{root}: holds neither {ARCHIVE_FILE} nor folders patient0001, patient0002, ...; check the path"
            )
        self._folders = {folder.name: folder for folder in folders}
        lists = read_split_lists(root)
        splits = {name: split for split, (_, names) in lists.items() for name in names}
        table = read_patient_table(root / PATIENT_TABLE)
        self.patients: tuple[CamusPatient, ...] = tuple(
            build_patient(name, splits.get(name), table.get(name) or _any_info(folder))
            for name, folder in sorted(self._folders.items())
        )

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
        """One record per patient and view with an outlined frame; ``path`` is the ED image (or the ES image)."""
        require_split(split, SPLITS)
        for patient in select_patients(self, split):
            for view in VIEW_NAMES:
                pairs = self.frame_files(patient, view)
                if pairs:
                    image = _read_volume(next(iter(pairs.values()))[0])
                    yield _record(self, patient, view, next(iter(pairs.values()))[0], image)

    def folder_of(self, patient: CamusPatient) -> Path:
        """The folder of a patient."""
        return self._folders[patient.name]

    def frame_files(self, patient: CamusPatient, view: View) -> dict[Phase, tuple[Path, Path]]:
        """Image and mask of the outlined frames that are there, by phase."""
        found: dict[Phase, tuple[Path, Path]] = {}
        for phase in PHASES:
            folder, stem = self._folders[patient.name], f"{patient.name}_{VIEW_NAMES[view]}_{phase}"
            image, mask = _find_volume(folder, stem), _find_volume(folder, f"{stem}_gt")
            if image is not None and mask is not None:
                found[phase] = (image, mask)
        return found

    def read_image(self, patient: CamusPatient, view: View, phase: Phase) -> CamusImage | None:
        """One annotated frame in native size, with its spacing."""
        pair = self.frame_files(patient, view).get(phase)
        if pair is None:
            return None
        image_path, mask_path = pair
        image, mask = _read_volume(image_path), _read_volume(mask_path)
        pixels, labels = _single_frame(image, image_path), _single_frame(mask, mask_path)
        if pixels.shape != labels.shape:
            raise CamusError(f"{mask_path}: is {labels.shape}, its image {pixels.shape}; fetch both again")
        return CamusImage(
            patient,
            view,
            phase,
            np.clip(np.rint(pixels), 0, 255).astype(np.uint8),
            _checked_labels(labels, mask_path.name),
            image.spacing,
            image.spacing_reason,
        )


def _read_volume(path: Path) -> Volume:
    from echoapex.io.volume import read_volume  # camus224.npz and prepared clips need no library for volumes

    return read_volume(path)


def _find_volume(folder: Path, stem: str) -> Path | None:
    return next((path for suffix in _SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()), None)


def _single_frame(volume: Volume, path: Path) -> np.ndarray:
    if volume.frames.shape[0] != 1:
        raise CamusError(f"{path}: holds {volume.frames.shape[0]} frames, an ED or ES image has one")
    frame: np.ndarray = volume.frames[0]
    return frame


def _checked_labels(labels: np.ndarray, name: str) -> UInt8[np.ndarray, "height width"]:
    unknown = set(np.unique(labels).tolist()) - {0, *map(int, STRUCTURES)}
    if unknown:
        raise CamusError(f"{name}: labels {sorted(unknown)} are not CAMUS labels (0 to 3); fetch the file again")
    return labels.astype(np.uint8)


def _any_info(folder: Path) -> dict[str, str]:
    """The cfg file of the first view that has one; both repeat what is true of the patient."""
    return next((info for name in VIEW_NAMES.values() if (info := read_info(folder, name))), {})


def _record(dataset: CamusDataset, patient: CamusPatient, view: View, path: Path, image: Volume | None) -> DatasetClip:
    return DatasetClip(
        name=f"{patient.name}_{VIEW_NAMES[view]}",
        path=path,
        patient=patient.name,
        split=patient.split,
        view=view,
        references=patient.references,
        spacing=image.spacing if image else None,
        spacing_reason=image.spacing_reason if image else _UNEVEN_RESIZE,
        size=(image.frames.shape[1], image.frames.shape[2]) if image else None,
        labels={"image_quality": patient.image_quality} if patient.image_quality else {},
        label_source=partial(_label_maps, dataset, patient, view),
    )


def _label_maps(dataset: CamusDataset, patient: CamusPatient, view: View) -> LabelMaps:
    images = (dataset.read_image(patient, view, phase) for phase in PHASES)
    return {number: image.labels for number, image in enumerate(images) if image is not None}
