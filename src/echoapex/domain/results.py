"""What an analysis finds: results in native pixels, measurements with their evidence, and the report of a study.

``StudyReport`` is the content of ``results.json``. It goes through JSON without loss, and the JSON Schema in
docs/reference is generated from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Bool, UInt8
from pydantic import Field, PrivateAttr, computed_field, model_validator

from echoapex.config import Config
from echoapex.domain.clip import Size
from echoapex.domain.ecg import ReportedEcg, RWaveSource
from echoapex.vocabulary import Quantity, Structure, View

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class ViewPrediction:
    """Probability of each view; sums to one (within 1e-3)."""

    probabilities: Mapping[View, float]

    def __post_init__(self) -> None:
        total = sum(self.probabilities.values())
        if abs(total - 1) > 1e-3 or min(self.probabilities.values()) < 0:
            raise ValueError(f"view probabilities must be non-negative and sum to one, they sum to {total:.4f}")

    @property
    def view(self) -> View:
        """The most probable view."""
        return max(self.probabilities, key=lambda view: self.probabilities[view])

    @property
    def probability(self) -> float:
        """Probability of the most probable view."""
        return self.probabilities[self.view]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Label map of one frame in native size; values are ``Structure`` labels, 0 is background.

    ``confidence`` is the decoder's predicted IoU per structure asked for, 0 to 1; ``corrected`` names the structures
    whose outline is a person's.
    """

    frame: int
    labels: UInt8[np.ndarray, "height width"]
    confidence: Mapping[Structure, float]
    corrected: frozenset[Structure] = frozenset()

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8 or self.labels.ndim != 2:
            raise ValueError("a label map is uint8 (height, width)")

    @property
    def size(self) -> Size:
        """Height and width."""
        return (self.labels.shape[0], self.labels.shape[1])

    def mask(self, structure: Structure) -> Bool[np.ndarray, "height width"]:
        """Boolean mask of one structure."""
        found: Bool[np.ndarray, "height width"] = self.labels == int(structure)
        return found


class WallPoint(StrEnum):
    """The four LV wall end points on PLAX, from the transducer downwards, along one line across the LV."""

    SEPTUM_RV_SIDE = "septum_rv_side"
    SEPTUM_LV_SIDE = "septum_lv_side"
    POSTERIOR_WALL_LV_SIDE = "posterior_wall_lv_side"
    POSTERIOR_WALL_EPICARDIUM = "posterior_wall_epicardium"


RV_ANTERIOR_BORDER = "rv_anterior_border"
"""Name in evidence of the point where the line of the walls leaves the right ventricle, towards the transducer."""


@dataclass(frozen=True)
class Landmarks:
    """Wall end points of one frame, native pixels, each with a confidence from 0 to 1."""

    frame: int
    points_xy: Mapping[WallPoint, tuple[float, float]]
    confidence: Mapping[WallPoint, float]

    def __post_init__(self) -> None:
        if set(self.points_xy) != set(WallPoint) or set(self.confidence) != set(WallPoint):
            raise ValueError("landmarks name all four wall points with a confidence each")


@dataclass(frozen=True)
class VolumeCurve:
    """LV volume over frames: ``relative`` to the largest volume, and in ``ml`` where the clip is calibrated.

    ``frames`` are frame indices; ``ed_frames``/``es_frames`` index the clip, one pair per beat found.
    """

    frames: tuple[int, ...]
    times_s: tuple[float, ...]
    relative: tuple[float, ...]
    ml: tuple[float, ...] | None
    ed_frames: tuple[int, ...]
    es_frames: tuple[int, ...]
    method: str

    def __post_init__(self) -> None:
        lengths = {len(self.frames), len(self.times_s), len(self.relative), len(self.ml or self.relative)}
        if len(lengths) != 1:
            raise ValueError("a volume curve needs as many times and volumes as frames")


SCHEMA_VERSION = "1.0"
DISCLAIMER = "Research software, not a medical device: not for diagnosis or treatment."


class Flag(StrEnum):
    """A reason to look twice at a value; never a reason to hide it."""

    OUT_OF_RANGE = "out_of_plausible_range"
    UNDER_COLOUR = "measured_under_colour_doppler"
    LOW_CONFIDENCE = "low_confidence"
    ASSUMED_FRAME_RATE = "assumed_frame_rate"
    SINGLE_FRAME = "single_frame"
    INCOMPLETE_BEAT = "incomplete_beat"
    SINGLE_PLANE = "single_plane"
    CORRECTED_SPACING = "corrected_spacing"
    VIEW_UNCERTAIN = "view_uncertain"
    METHODS_DISAGREE = "methods_disagree"
    STRUCTURE_CUT_OFF = "structure_cut_off_by_sector"
    PLANES_DISAGREE = "plane_lengths_differ_over_10_percent"


class Evidence(Config):
    """Where one value came from: clip, frames, contour or points in native pixels, and the calibration used."""

    clip_id: str
    frames: tuple[int, ...] = ()
    contours_xy: dict[str, tuple[tuple[float, float], ...]] = Field(
        default_factory=dict, description="'lv_cavity@12': closed contour on frame 12, native pixels (x, y)"
    )
    points_xy: dict[str, tuple[float, float]] = Field(default_factory=dict, description="named points, native pixels")
    row_mm: float | None = Field(default=None, description="calibration used: mm per pixel along rows")
    column_mm: float | None = None
    calibration_source: str = ""
    input_sha256: str = ""
    derived_from: tuple[str, ...] = Field(default=(), description="other measurements this one was computed from")


class Measurement(Config):
    """One value with unit, interval, method and evidence.

    The unit comes from the quantity. A quantity in millimetres, millilitres or grams is refused without calibration.
    """

    quantity: Quantity
    value: float
    interval: tuple[float, float] | None = Field(default=None, description="95 % interval in the same unit")
    method: str
    confidence: float | None = Field(default=None, ge=0, le=1)
    flags: tuple[Flag, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    details: dict[str, Any] = Field(default_factory=dict)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def unit(self) -> str:
        """UCUM unit of the quantity."""
        return self.quantity.unit

    @model_validator(mode="before")
    @classmethod
    def _drop_unit(cls, values: Any) -> Any:
        """``unit`` is written for readers of the JSON and derived again on reading."""
        if isinstance(values, dict) and "unit" in values:
            unit, quantity = values["unit"], Quantity(values["quantity"])
            if unit != quantity.unit:
                raise ValueError(f"{quantity} is measured in {quantity.unit}, not {unit}")
            return {key: value for key, value in values.items() if key != "unit"}
        return values

    @model_validator(mode="after")
    def _needs_calibration(self) -> Self:
        if self.quantity.needs_spacing and not any(item.row_mm for item in self.evidence):
            raise ValueError(f"{self.quantity.display_name} in {self.unit} needs evidence with a calibrated spacing")
        return self


class VolumePoint(Config):
    """One frame of a volume curve."""

    frame: int
    time_s: float
    relative: float
    ml: float | None = None


class ClipReport(Config):
    """What was found in one clip."""

    clip_id: str
    file: str
    frames: int
    size: tuple[int, int]
    content: str
    view: View | None = None
    view_probabilities: dict[View, float] = Field(default_factory=dict)
    quality: float | None = Field(default=None, ge=0, le=1)
    row_mm: float | None = None
    column_mm: float | None = None
    spacing_reason: str = ""
    frame_rate_hz: float | None = None
    ed_frames: tuple[int, ...] = ()
    es_frames: tuple[int, ...] = ()
    r_wave_times_s: tuple[float, ...] = Field(default=(), description="R waves, on the clip's time")
    r_wave_source: RWaveSource | None = Field(default=None, description="where the R waves come from")
    ecg: ReportedEcg | None = None
    volume_curve: tuple[VolumePoint, ...] = ()
    structures: dict[str, float] = Field(default_factory=dict, description="structure: mean predicted IoU")
    measurements: tuple[Measurement, ...] = ()
    set_aside: str = Field(default="", description="why the clip was not analysed, empty when it was")
    notes: tuple[str, ...] = ()
    input_sha256: str = ""


class LvhAssessment(Config):
    """LV geometry after ASE 2015, or why it could not be given."""

    category: str | None = None
    reason: str = ""
    sources: tuple[str, ...] = ()


class StudyReport(Config):
    """The whole answer: clips, study-level measurements with evidence, versions and digests."""

    schema_version: str = SCHEMA_VERSION
    disclaimer: str = DISCLAIMER
    echoapex_version: str
    bundles: dict[str, str] = Field(default_factory=dict, description="bundle name: sha256 of its weights")
    clips: tuple[ClipReport, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    lvh: LvhAssessment = Field(default_factory=LvhAssessment)
    errors: tuple[dict[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    _masks: dict[str, Mapping[int, UInt8[np.ndarray, "height width"]]] = PrivateAttr(default_factory=dict)

    def find(self, quantity: Quantity) -> Measurement | None:
        """The study-level measurement of a quantity, or None."""
        return next((m for m in self.measurements if m.quantity is quantity), None)

    @property
    def ef(self) -> Measurement | None:
        """Ejection fraction: by regression where there is one, else by discs."""
        return self.find(Quantity.LVEF) or self.find(Quantity.LVEF_DISCS)

    @property
    def masks(self) -> Mapping[str, Mapping[int, UInt8[np.ndarray, "height width"]]]:
        """Label maps by clip ID and native frame, values of ``Structure``; empty when the analysis kept none."""
        return self._masks

    def with_masks(self, masks: Mapping[str, Mapping[int, UInt8[np.ndarray, "height width"]]]) -> Self:
        """The same report with label maps in memory; they are no part of its JSON."""
        report = self.model_copy()
        report._masks = dict(masks)
        return report

    def rows(self) -> Iterator[dict[str, object]]:
        """Every value as one row, those of the study first; the columns are ``ROW_COLUMNS``."""
        clips = {clip.clip_id: clip for clip in self.clips}
        for measurement in self.measurements:
            sources = list(dict.fromkeys(item.clip_id for item in measurement.evidence))
            yield {
                "level": "study",
                "study": measurement.details.get("study", ""),
                "clip_id": " ".join(sources),
                "file": "; ".join(clips[name].file for name in sources if name in clips),
                "view": "",
                **_row_of(measurement),
            }
        for clip in self.clips:
            about = {"clip_id": clip.clip_id, "file": clip.file, "view": clip.view.value if clip.view else ""}
            for measurement in clip.measurements:
                yield {"level": "clip", "study": "", **about, **_row_of(measurement)}

    def to_dataframe(self) -> DataFrame:
        """Every value as one row of a pandas table, with the columns of ``measurements.csv``; numbers stay numbers.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas: pip install 'echoapex[dataframe]'") from error
        return pandas.DataFrame(list(self.rows()), columns=list(ROW_COLUMNS))

    def __eq__(self, other: object) -> bool:
        """Whether both say the same; masks in memory do not count."""
        return isinstance(other, StudyReport) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        aside = sum(1 for clip in self.clips if clip.set_aside)
        parts = [f"{len(self.clips)} clips" + (f" ({aside} set aside)" if aside else "")]
        parts += [f"{len(self.errors)} files failed"] if self.errors else []
        parts.append(f"{len(self.measurements)} values")
        parts += [f"EF {self.ef.value:.0f} %"] if self.ef else ["no EF"]
        return f"StudyReport({', '.join(parts)})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """The report in a notebook: the values of the study, its clips, and what this software is not."""
        values = [
            (item.quantity.display_name, _number_with_interval(item), item.method, ", ".join(item.flags))
            for item in self.measurements
        ]
        clips = [
            (clip.file, clip.view.display_name if clip.view else "", clip.set_aside or _percent(clip.quality))
            for clip in self.clips
        ]
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return (
            f"<p><em>{escape(self.disclaimer)}</em></p>"
            + _html_table(("Quantity", "Value", "Method", "Flags"), values)
            + _html_table(("Clip", "View", "Quality, or why it was set aside"), clips)
            + notes
        )


ROW_COLUMNS = (
    "level",
    "study",
    "clip_id",
    "file",
    "view",
    "quantity",
    "name",
    "value",
    "unit",
    "interval_low",
    "interval_high",
    "method",
    "confidence",
    "flags",
    "frames",
)
"""Columns of a table of values."""


def _row_of(measurement: Measurement) -> dict[str, object]:
    low, high = measurement.interval or (None, None)
    frames = sorted({frame for item in measurement.evidence for frame in item.frames})
    return {
        "quantity": measurement.quantity.value,
        "name": measurement.quantity.display_name,
        "value": measurement.value,
        "unit": measurement.unit,
        "interval_low": low,
        "interval_high": high,
        "method": measurement.method,
        "confidence": measurement.confidence,
        "flags": " ".join(flag.value for flag in measurement.flags),
        "frames": " ".join(map(str, frames)) if len(measurement.evidence) == 1 else "",
    }


def _number_with_interval(item: Measurement) -> str:
    interval = f" ({item.interval[0]:.3g} to {item.interval[1]:.3g})" if item.interval else ""
    return f"{item.value:.3g} {item.unit}{interval}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


LEAST_VIEW = 0.2
"""Probability below which no view is named and nothing is measured."""
