"""What goes over HTTP between the page and its server, version 1 (``/api/v1``).

Points and contours are native pixels (x, y), the centre of the first pixel is (0, 0); sizes are (height, width); times
are seconds; sizes of pixels are mm.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from echoapex.domain.ecg import EcgOrigin, RWaveSource
from echoapex.domain.results import Evidence, LvhAssessment, Measurement, StudyReport, VolumePoint
from echoapex.vocabulary import Quantity, View

Frame = Annotated[int, Field(ge=0, lt=1_000_000)]
Pixel = Annotated[float, Field(ge=-100_000, le=100_000, allow_inf_nan=False)]
Point = tuple[Pixel, Pixel]
StructureKey = Annotated[str, Field(min_length=1, max_length=32, pattern="^[a-z_]+$")]
ShortText = Annotated[str, Field(max_length=200)]
LongText = Annotated[str, Field(max_length=20_000)]
StudyKey = Annotated[str, Field(pattern="^[0-9a-f]{16}$", description="random name of a study")]


class Wire(BaseModel):
    """Base of what goes over HTTP: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class Role(StrEnum):
    """What a user may do; each may also do what those before it may."""

    READER = "reader"
    REVIEWER = "reviewer"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do what another one may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class PageState(StrEnum):
    """How far a study is."""

    QUEUED = "queued"
    ANALYSING = "analysing"
    READY = "ready"
    FAILED = "failed"
    SIGNED = "signed"


class Problem(Wire):
    """Why a request failed: one sentence, with what to do."""

    detail: str


class HealthAnswer(Wire):
    """The server runs."""

    status: Literal["ok"] = "ok"


class CurrentWeights(Wire):
    """The set of weights that analyses new studies."""

    name: str
    note: str = ""
    site_version: int | None = Field(default=None, description="the site's own set; null for the one that was given")


class SessionInfo(Wire):
    """Who uses the page, and with what."""

    user: str
    role: Role
    csrf: str = Field(description="value of the header X-Echoapex-Csrf of every request that changes something")
    version: str
    disclaimer: str
    weights: CurrentWeights
    needs_login: bool


class Login(Wire):
    """A token that the administrator gave."""

    token: Annotated[str, Field(min_length=1, max_length=512)]


class StudyRow(Wire):
    """One study of the list."""

    study: StudyKey
    label: str
    received: float = Field(description="seconds since 1970")
    state: PageState
    progress: float = Field(ge=0, le=1)
    clips: int
    clips_done: int
    views: dict[str, int] = Field(default_factory=dict)
    flags: list[str] = Field(default_factory=list)
    quality: float | None = None
    ef_percent: float | None = None
    ef_method: str = ""
    lvh: str | None = None
    error: str = ""
    reviewed: bool = False
    signed_by: str = ""


class StudyRows(Wire):
    """A page of the list, and how many studies match."""

    total: int
    studies: list[StudyRow]


class NewLabel(Wire):
    """What a study is called; give no name of a patient."""

    label: Annotated[str, Field(min_length=1, max_length=80)]


class RefusedUpload(Wire):
    """A file that was not taken."""

    file: str = Field(description="its place in the upload, without its name")
    index: int
    reason: str


class Uploaded(Wire):
    """What became of an upload."""

    studies: list[StudyKey]
    refused: list[RefusedUpload]


class ValueLimits(Wire):
    """Normal limits; an end that is null has no limit."""

    low: float | None = None
    high: float | None = None
    source: str = ""


class ValueState(StrEnum):
    """What a reader says of a value."""

    OPEN = "open"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"


class ReviewedValue(Wire):
    """One value with its evidence and what a reader said of it."""

    id: str = Field(description="'lvef' of the study, 'lvef@CLIP' of a clip")
    quantity: Quantity
    name: str
    value: float
    unit: str
    interval: tuple[float, float] | None = None
    method: str
    confidence: float | None = None
    flags: list[str] = Field(default_factory=list)
    limits: ValueLimits | None = None
    category: str = ""
    state: ValueState = ValueState.OPEN
    original: float | None = Field(default=None, description="what the analysis found, where it was something else")
    edited_by: str = ""
    reason: str = ""
    follows: list[str] = Field(
        default_factory=list, description="the edited or rejected values from which this one was computed again"
    )
    left_out: str = Field(default="", description="why it no longer fits what was decided, so that no export has it")
    evidence: list[Evidence] = Field(default_factory=list)


class DecidedValue(ReviewedValue):
    """A value after a decision, and the others that changed with it."""

    others: list[ReviewedValue] = Field(default_factory=list)
    gone: list[str] = Field(default_factory=list, description="values that were computed only from earlier decisions")


class ValueChange(Wire):
    """What a reader says of a value; ``edited`` needs the new value."""

    state: ValueState
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    reason: ShortText = ""


class ClipSpacing(Wire):
    """The size of a pixel, and where it is known from."""

    row_mm: float
    column_mm: float
    source: str = ""


class ClipEcg(Wire):
    """The ECG of a clip, on the time of its frames."""

    times_s: list[float]
    values: list[float]
    unit: str = Field(default="", description="UCUM unit of the values; empty where the file does not say")
    origin: EcgOrigin


class ReviewedClip(Wire):
    """One clip as it is now, with the corrections of readers."""

    clip: str
    label: str
    view: View | None = None
    view_probability: float | None = None
    view_probabilities: dict[View, float] = Field(default_factory=dict)
    quality: float | None = None
    frames: int
    size: tuple[int, int]
    frame_times_s: list[float]
    spacing: ClipSpacing | None = None
    spacing_reason: str = ""
    ed_frames: list[int] = Field(default_factory=list)
    es_frames: list[int] = Field(default_factory=list)
    r_wave_times_s: list[float] = Field(default_factory=list)
    r_wave_source: RWaveSource | None = None
    ecg: ClipEcg | None = None
    volume_curve: list[VolumePoint] = Field(default_factory=list)
    measurements: list[Measurement] = Field(default_factory=list)
    structures: dict[str, float] = Field(default_factory=dict)
    set_aside: str = ""
    notes: list[str] = Field(default_factory=list)
    corrected: bool = False
    masked_frames: list[int] = Field(default_factory=list)
    sector: list[Point] | None = None
    has_input: bool = Field(default=True, description="whether its file is there, for pictures and corrections")


class EfDisagreement(Wire):
    """Both ejection fractions side by side; ``marked`` where they differ more than they should."""

    lvef: float
    lvef_discs: float
    difference: float
    marked: bool


class SignOff(Wire):
    """Who signed a study off, when (UTC), and with which words."""

    by: str
    when: str
    statement: str


class StudyDetail(Wire):
    """Everything about one study."""

    study: StudyRow
    report: StudyReport
    original: StudyReport
    values: list[ReviewedValue]
    clips: list[ReviewedClip]
    note: str = ""
    signed: SignOff | None = None
    lvh: LvhAssessment = Field(default_factory=LvhAssessment, description="LV geometry of the values as decided")
    disagreement: EfDisagreement | None = None
    can_undo: bool = False
    can_redo: bool = False
