"""The truth of a phantom study: ``truth.json`` beside the DICOM files, and label maps in ``truth/``.

A study folder contains ``<VIEW>.dcm`` for every view, ``truth.json`` (:class:`StudyTruth`) and ``truth/<VIEW>.npz``
with the arrays ``frames`` (n,) and ``labels`` (n, height, width). Labels are those of
:class:`echoapex.vocabulary.Structure`, in native pixels.

Seeds split the patients: seeds below :data:`FIRST_HELD_OUT_SEED` are for training; all others are held out for
evaluation and must never be used in training. One seed is one patient, in every view.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from pydantic import Field, ValidationError

from echoapex.config import Config
from echoapex.domain import Sector, Spacing, WallPoint
from echoapex.domain.clip import Size
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.vocabulary import Quantity, View

TRUTH_VERSION: Literal["1.0"] = "1.0"
TRUTH_FILE = "truth.json"
LABEL_FOLDER = "truth"
FIRST_HELD_OUT_SEED = 1_000_000

LabelMaps = dict[int, UInt8[np.ndarray, "height width"]]


class TruthError(ValueError):
    """A truth file is missing, damaged or of another version; the message names the file and says what to do."""


def is_held_out(seed: int) -> bool:
    """Whether the patient of this seed is for evaluation only.

    >>> is_held_out(999_999), is_held_out(1_000_000)
    (False, True)
    """
    return seed >= FIRST_HELD_OUT_SEED


class ClipWalls(Config):
    """The four wall end points on the ED frame of a PLAX clip, the lengths between them, and RVIDd on the same line."""

    frame: int
    points_xy: dict[WallPoint, tuple[float, float]] = Field(description="native pixels")
    ivsd_mm: float
    lvidd_mm: float
    lvpwd_mm: float
    rvidd_mm: float | None = Field(
        default=None,
        description="RV side of the septum to the anterior border of the RV; null where the image ends before it",
    )
    rv_anterior_border_xy: tuple[float, float] | None = Field(default=None, description="native pixels")

    def value_mm(self, quantity: Quantity) -> float:
        """The length in mm of IVSd, LVIDd or LVPWd.

        Raises:
            KeyError: any other quantity.
        """
        return {Quantity.IVSD: self.ivsd_mm, Quantity.LVIDD: self.lvidd_mm, Quantity.LVPWD: self.lvpwd_mm}[quantity]


class ClipTruth(Config):
    """The truth of one clip; times are in seconds from the first frame, pixels are native."""

    file: str = Field(description="DICOM file, relative to the study folder")
    sha256: str = Field(description="digest of that file: how written results are matched to this truth")
    view: View
    seed: int
    size: tuple[int, int] = Field(description="(height, width)")
    frame_times_s: tuple[float, ...]
    r_wave_times_s: tuple[float, ...]
    volumes_ml: tuple[float, ...] = Field(description="true 3D LV cavity volume at every frame")
    ed_frame: int
    es_frame: int
    row_mm: float
    column_mm: float
    sector_box_xyxy: tuple[float, float, float, float] = Field(description="pixel edges")
    sector_polygon_xy: tuple[tuple[float, float], ...]
    label_file: str = Field(description="npz of label maps, relative to the study folder")
    label_frames: tuple[int, ...]
    walls: ClipWalls | None = None

    @property
    def spacing(self) -> Spacing:
        """Calibrated pixel size."""
        return Spacing(self.row_mm, self.column_mm)

    @property
    def sector(self) -> Sector:
        """The sector."""
        return Sector(self.sector_box_xyxy, self.sector_polygon_xy)


class PatientTruth(Config):
    """The simulated patient; ``parameters`` are all parameters of the heart, with units in their names."""

    sex: Literal["M", "F"]
    age_years: int
    height_m: float
    weight_kg: float
    bsa_m2: float
    heart_rate_bpm: float
    parameters: dict[str, float | int | str]


class StudyTruth(Config):
    """Content of ``truth.json``."""

    truth_version: Literal["1.0"] = TRUTH_VERSION
    simulator_version: str
    seed: int
    held_out: bool
    image_size: tuple[int, int]
    transfer_syntax: str
    patient: PatientTruth
    ejection_fraction_percent: float
    edv_ml: float
    esv_ml: float
    clips: tuple[ClipTruth, ...]

    def find(self, view: View) -> ClipTruth | None:
        """The clip of a view, or None."""
        return next((clip for clip in self.clips if clip.view is view), None)


def read_truth(study_directory: Path) -> StudyTruth:
    """Read ``truth.json`` of a study folder.

    Raises:
        TruthError: the file is missing, damaged or of another version.
    """
    path = study_directory / TRUTH_FILE
    try:
        return StudyTruth.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TruthError(
            f"{path}: cannot be read ({error.strerror}); write the study with 'echoapex phantom'"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise TruthError(
            f"{path}: {place} is not valid truth of version {TRUTH_VERSION} ({first['msg']}); write the study again"
        ) from error


def write_truth(study_directory: Path, truth: StudyTruth) -> Path:
    """Write ``truth.json``; call it last, so that a folder with this file is a finished study."""
    return write_bytes_atomically(study_directory / TRUTH_FILE, (truth.model_dump_json(indent=1) + "\n").encode())


def write_label_maps(path: Path, labels: LabelMaps, size: Size) -> Path:
    """Write label maps in ascending order of frames; equal maps give equal bytes."""
    frames = sorted(labels)
    stack = np.stack([labels[frame] for frame in frames]) if frames else np.zeros((0, *size), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, frames=np.array(frames, np.int32), labels=stack.astype(np.uint8))
    return write_bytes_atomically(path, buffer.getvalue())


def read_label_maps(path: Path) -> LabelMaps:
    """Read label maps by frame index.

    Raises:
        TruthError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            frames, labels = arrays["frames"], arrays["labels"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise TruthError(f"{path}: label maps cannot be read ({error}); write the study again") from error
    if labels.dtype != np.uint8 or labels.ndim != 3 or frames.shape != labels.shape[:1]:
        raise TruthError(f"{path}: label maps must be uint8 (frames, height, width); write the study again")
    return {int(frame): label for frame, label in zip(frames, labels, strict=True)}
