"""Measurements with their evidence, and the report of a study. These are the types of ``results.json``.

pydantic models: the JSON Schema in docs/reference is generated from them; they round-trip through JSON without loss.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from pydantic import Field, computed_field, model_validator

from echoapex.config import Config
from echoapex.vocabulary import Quantity, View

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

    def find(self, quantity: Quantity) -> Measurement | None:
        """The study-level measurement of a quantity, or None."""
        return next((m for m in self.measurements if m.quantity is quantity), None)

    @property
    def ef(self) -> Measurement | None:
        """Ejection fraction: by regression where there is one, else by discs."""
        return self.find(Quantity.LVEF) or self.find(Quantity.LVEF_DISCS)
