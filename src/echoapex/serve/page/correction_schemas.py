"""What goes over HTTP when a clip or a study is corrected; the rest of version 1 is in ``schemas``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from echoapex.domain.results import WallPoint
from echoapex.serve.page.schemas import (
    Frame,
    LongText,
    Pixel,
    Point,
    ReviewedClip,
    ReviewedValue,
    ShortText,
    StructureKey,
    Wire,
)
from echoapex.vocabulary import View


class ClipContours(Wire):
    """Closed contours by structure and frame; a structure may have several parts on a frame."""

    structures: dict[str, dict[str, list[list[Point]]]]


class RunLengths(Wire):
    """A mask in column order: counts of 0 and 1 by turns, the first of 0 (COCO)."""

    counts: list[Annotated[int, Field(ge=0)]]


class FrameMaskSet(Wire):
    """The masks of one frame."""

    size: tuple[int, int]
    structures: dict[str, RunLengths]


class MaskChange(Wire):
    """The mask of one structure on one frame, as run lengths or as a contour; an empty contour clears it."""

    frame: Frame
    structure: StructureKey
    rle: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=2_000_000)] | None = None
    contour: Annotated[list[Point], Field(max_length=20_000)] | None = None


class CalibrationChange(Wire):
    """The size of a pixel, as a person measured it."""

    row_mm: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
    column_mm: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
    source: ShortText = ""


class ClipChange(Wire):
    """What a person says of a clip; what is left out stays, null takes a correction back."""

    view: View | None = None
    ed_frames: Annotated[list[Frame], Field(max_length=1_000)] | None = None
    es_frames: Annotated[list[Frame], Field(max_length=1_000)] | None = None
    calibration: CalibrationChange | None = None
    set_aside: bool | None = None


class WallChange(Wire):
    """The four wall end points on one frame."""

    points: dict[WallPoint, Point]


class Corrected(Wire):
    """A clip after a change, and the values of the study."""

    clip: ReviewedClip
    values: list[ReviewedValue]
    can_undo: bool = True
    can_redo: bool = False


class CaliperChange(Wire):
    """A distance that a person measures; a browser may send its length along, which is measured again."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    frame: Frame
    start: Point = Field(alias="from")
    end: Point = Field(alias="to")
    name: Annotated[str, Field(max_length=80)] = ""
    id: Annotated[str, Field(max_length=32)] = Field(
        default="", description="left out: a new one; else that of the path"
    )


class Caliper(CaliperChange):
    """A distance that a person measured; ``mm`` is null without a calibration, and ``reason`` says so."""

    mm: float | None = None
    reason: str = ""


class Calipers(Wire):
    """The calipers of a clip."""

    calipers: list[Caliper]


class PointClick(Wire):
    """A click on what belongs to the structure, or on what does not."""

    x: Pixel
    y: Pixel
    positive: bool = True


class SegmentRequest(Wire):
    """Which mask is wanted: clicks and a box in native pixels; ``from_automatic`` starts from the automatic mask."""

    frame: Frame
    structure: StructureKey | None = None
    clicks: Annotated[list[PointClick], Field(max_length=64)] = Field(default_factory=list)
    box: tuple[Pixel, Pixel, Pixel, Pixel] | None = None
    from_automatic: bool = False


class SegmentAnswer(Wire):
    """A mask in column order, its predicted overlap with the truth, and how long it took."""

    size: tuple[int, int]
    counts: list[int]
    iou: float | None = None
    ms: float


class PropagateRequest(Wire):
    """From which frame the mask of a structure goes to the others."""

    frame: Frame
    structure: StructureKey


class Propagated(Corrected):
    """On how many frames a mask was drawn."""

    frames: int


class Undone(Wire):
    """What was undone or done again; ``clip`` is null where it concerned none."""

    clip: ReviewedClip | None = None
    values: list[ReviewedValue]
    undone: str
    can_undo: bool
    can_redo: bool


class Note(Wire):
    """The reader's note."""

    text: LongText


class Statement(Wire):
    """The words of a sign-off."""

    statement: Annotated[str, Field(min_length=1, max_length=2_000)]


class AuditEntry(Wire):
    """One change: when (UTC), by whom, what, where, and the state before and after."""

    when: str
    who: str
    what: str
    where: str
    before: object = None
    after: object = None


class Audit(Wire):
    """All changes of a study, the oldest first."""

    entries: list[AuditEntry]


class PeerRow(Wire):
    """A system that results can be sent to."""

    name: str
    kind: Literal["DICOM", "DICOMweb"]


class Peers(Wire):
    """The systems that results can be sent to."""

    peers: list[PeerRow]


class SendRequest(Wire):
    """Where the results go."""

    peer: Annotated[str, Field(min_length=1, max_length=100)]


class Sent(Wire):
    """What became of the objects."""

    sent: int
    refused: list[str]
