"""CAMUS: apical four- and two-chamber views of 500 patients, outlined by a cardiologist at ED and ES.

Leclerc et al., IEEE TMI 2019, doi 10.1109/TMI.2019.2900516; CC BY-NC-SA 4.0, non-commercial research. Two layouts are
read:

* the official one, a folder per patient with ``patient0001_4CH_ED.nii.gz`` and ``..._gt.nii.gz`` (or ``.mhd``), with
  or without ``Info_4CH.cfg``; splits come from the official lists ``subgroup_training.txt``,
  ``subgroup_validation.txt`` and ``subgroup_testing.txt``;
* ``camus224.npz`` with arrays ``image`` and ``mask`` uint8 (patient, view, phase, 224, 224), and ``patient``,
  ``split``, ``view``, ``phase`` naming the axes. It was resized unevenly, so it has no spacing.

CAMUS' labels 1, 2, 3 (LV cavity, LV myocardium, left atrium) are those of :class:`echoapex.vocabulary.Structure`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from jaxtyping import UInt8

from echoapex.domain import Spacing
from echoapex.io.volume import Volume, read_volume
from echoapex.vocabulary import Structure, View

Phase = Literal["ED", "ES"]
Split = Literal["train", "val", "test", "all"]

PHASES: tuple[Phase, ...] = get_args(Phase)
VIEW_NAMES = {View.A4C: "4CH", View.A2C: "2CH"}
STRUCTURES = (Structure.LV_CAVITY, Structure.LV_MYOCARDIUM, Structure.LEFT_ATRIUM)
ARCHIVE_FILE = "camus224.npz"
_PATIENT_TABLE = "patients_info.csv"
_SPLIT_FILES = {
    "train": "subgroup_training.txt",
    "val": "subgroup_validation.txt",
    "test": "subgroup_testing.txt",
}
_SUFFIXES = (".nii.gz", ".mhd")
_UNEVEN_RESIZE = f"{ARCHIVE_FILE} was resized unevenly, which lost the pixel spacing"


class CamusError(ValueError):
    """A CAMUS folder that cannot be read; the message names the file and the remedy."""


@dataclass(frozen=True)
class CamusPatient:
    """One patient; what the data set does not tell is None."""

    name: str
    split: str | None
    sex: Literal["M", "F"] | None = None
    age_years: int | None = None
    image_quality: str | None = None
    ejection_fraction_percent: float | None = None
    frame_rate_hz: float | None = None


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
    def patients(self) -> tuple[CamusPatient, ...]:
        """All patients, in order of their names."""
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
            f"the folder does not tell the split {split!r}; put the official {_SPLIT_FILES[split]} beside the "
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

    def __init__(self, root: Path) -> None:
        path = root / ARCHIVE_FILE
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
        table = _read_patient_table(root / _PATIENT_TABLE)
        self._row = {name: row for row, name in enumerate(names)}
        self.patients: tuple[CamusPatient, ...] = tuple(
            _patient(name, split, table.get(name, {})) for name, split in sorted(zip(names, splits, strict=True))
        )

    def read_image(self, patient: CamusPatient, view: View, phase: Phase) -> CamusImage | None:
        """One annotated frame, 224 x 224."""
        index = (self._row[patient.name], self._views.index(VIEW_NAMES[view]), self._phases.index(phase))
        labels = _checked_labels(self._masks[index], f"{patient.name} {VIEW_NAMES[view]} {phase}")
        return CamusImage(patient, view, phase, self._images[index], labels, None, _UNEVEN_RESIZE)


class CamusFolder:
    """CAMUS in the official layout, read from disk frame by frame."""

    def __init__(self, root: Path) -> None:
        folders = sorted(path for path in root.rglob("patient[0-9]*") if path.is_dir())
        if not folders:
            raise CamusError(
                f"{root}: holds neither {ARCHIVE_FILE} nor folders patient0001, patient0002, ...; check the path"
            )
        self._folders = {folder.name: folder for folder in folders}
        splits = _read_splits(root)
        table = _read_patient_table(root / _PATIENT_TABLE)
        self.patients: tuple[CamusPatient, ...] = tuple(
            _patient(name, splits.get(name), table.get(name) or _read_info(folder))
            for name, folder in sorted(self._folders.items())
        )

    def read_image(self, patient: CamusPatient, view: View, phase: Phase) -> CamusImage | None:
        """One annotated frame in native size, with its spacing."""
        folder, stem = self._folders[patient.name], f"{patient.name}_{VIEW_NAMES[view]}_{phase}"
        image_path, mask_path = _find_volume(folder, stem), _find_volume(folder, f"{stem}_gt")
        if image_path is None or mask_path is None:
            return None
        image, mask = read_volume(image_path), read_volume(mask_path)
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


def _read_splits(root: Path) -> dict[str, str]:
    """Patient to split, from the official lists in ``root``, below it, or in ``database_split`` beside it."""
    found: dict[str, str] = {}
    for split, name in _SPLIT_FILES.items():
        places = [*sorted(root.rglob(name)), root.parent / "database_split" / name]
        path = next((place for place in places if place.is_file()), None)
        if path is not None:
            found |= dict.fromkeys(path.read_text(encoding="utf-8").split(), split)
    return found


def _read_patient_table(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        return {row["Patient"]: row for row in csv.DictReader(stream) if row.get("Patient")}


def _read_info(folder: Path) -> dict[str, str]:
    """``Info_4CH.cfg`` (or ``Info_2CH.cfg``): lines of ``Key: value``; older releases write ``LVef`` for ``EF``."""
    path = next((place for name in VIEW_NAMES.values() if (place := folder / f"Info_{name}.cfg").is_file()), None)
    if path is None:
        return {}
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    values = {key.strip(): value.strip() for key, separator, value in lines if separator}
    return {"EF": values["LVef"], **values} if "LVef" in values else values


def _patient(name: str, split: str | None, info: dict[str, str]) -> CamusPatient:
    sex = info.get("Sex")
    age, ejection_fraction, rate = (_number(info.get(key)) for key in ("Age", "EF", "FrameRate"))
    return CamusPatient(
        name=name,
        split=split,
        sex="M" if sex == "M" else "F" if sex == "F" else None,
        age_years=None if age is None else int(age),
        image_quality=info.get("ImageQuality"),
        ejection_fraction_percent=ejection_fraction,
        frame_rate_hz=rate,
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
