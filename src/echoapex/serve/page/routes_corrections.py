"""Corrections of clips: masks, clicks, propagation, view, cycle, calibration, walls, calipers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Response
from jaxtyping import Bool

from echoapex.domain import ClipReport
from echoapex.infer.review.recomputation import ReviewError
from echoapex.models.prompt_sampling import Click
from echoapex.serve.page.cine import packed
from echoapex.serve.page.contours import mask_of_contour, mask_of_runs, run_lengths
from echoapex.serve.page.correction_schemas import (
    Caliper,
    CaliperChange,
    Calipers,
    ClipChange,
    Corrected,
    MaskChange,
    Propagated,
    PropagateRequest,
    SegmentAnswer,
    SegmentRequest,
    WallChange,
)
from echoapex.serve.page.corrections import change_correction, draw_mask, spread_masks
from echoapex.serve.page.open_clips import OpenClip
from echoapex.serve.page.page_parts import PageParts, Parts, User
from echoapex.serve.page.routes_clips import find_clip
from echoapex.serve.page.routes_studies import ClipId, StudyId
from echoapex.serve.page.security import PageError
from echoapex.vocabulary import Structure

router = APIRouter(prefix="/studies/{study}/clips/{clip}", tags=["corrections"])
EMBEDDING_MAGIC = b"EAEMB1\n"
_BYTES = "application/octet-stream"
CaliperId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,32}$")]
FrameNumber = Annotated[int, Path(ge=0, lt=1_000_000)]


@router.put("/masks")
def put_mask(study: StudyId, clip: ClipId, change: MaskChange, parts: Parts, user: User) -> Corrected:
    """Draw the mask of one structure on one frame, and measure again."""
    report = find_clip(parts, study, clip)
    structure = _structure(change.structure)
    _check_frame(report, change.frame)
    if (change.rle is None) == (change.contour is None):
        raise PageError("give the mask as rle or as contour, one of them", 422)
    if change.rle is not None:
        mask = mask_of_runs(change.rle, report.size)
    else:
        mask = mask_of_contour(change.contour or (), report.size)
    labels = _labels(parts, study, report, change.frame)
    what = f"{structure.display_name} drawn on frame {change.frame}"
    parts.corrections.change(
        study, clip, what, user.user, lambda stored: draw_mask(stored, change.frame, structure, mask, labels)
    )
    return _corrected(parts, study, clip)


@router.patch("")
def change_clip(study: StudyId, clip: ClipId, change: ClipChange, parts: Parts, user: User) -> Corrected:
    """Correct view, ED and ES, calibration, or whether the clip is set aside; null takes a correction back."""
    find_clip(parts, study, clip)
    fields: dict[str, Any] = change.model_dump(include=change.model_fields_set - {"calibration"})
    if "calibration" in change.model_fields_set:
        given = change.calibration
        fields |= {"row_mm": given.row_mm if given else None, "column_mm": given.column_mm if given else None}
        fields["calibration_source"] = given.source if given else ""
    if not fields:
        raise PageError("nothing is to be changed; give view, ed_frames, es_frames, calibration or set_aside", 422)
    what = f"{', '.join(sorted(change.model_fields_set))} corrected"
    parts.corrections.change(study, clip, what, user.user, lambda stored: change_correction(stored, **fields))
    return _corrected(parts, study, clip)


@router.put("/walls/{frame}")
def put_walls(
    study: StudyId, clip: ClipId, frame: FrameNumber, change: WallChange, parts: Parts, user: User
) -> Corrected:
    """Move the four wall end points of one frame; none takes a correction back."""
    _check_frame(find_clip(parts, study, clip), frame)

    def move(stored: Any) -> Any:
        walls = {at: points for at, points in stored.correction.wall_points.items() if at != frame}
        return change_correction(stored, wall_points={**walls, frame: change.points} if change.points else walls)

    parts.corrections.change(study, clip, f"wall points moved on frame {frame}", user.user, move)
    return _corrected(parts, study, clip)


@router.post("/segment")
def segment(study: StudyId, clip: ClipId, request: SegmentRequest, parts: Parts, user: User) -> SegmentAnswer:
    """The mask that answers clicks or a box; nothing is stored."""
    report = find_clip(parts, study, clip)
    _check_frame(report, request.frame)
    structure = _structure(request.structure) if request.structure else None
    clicks = tuple(Click(click.x, click.y, click.positive) for click in request.clicks)
    known = structure if request.from_automatic or not (clicks or request.box) else None
    begun = time.perf_counter()

    def ask(opened: OpenClip) -> Any:
        return opened.clip.answer(request.frame, known, clicks, request.box)

    answer = _ask(parts, study, clip, ask)
    counts = run_lengths(answer.mask)
    spent_ms = round(1000 * (time.perf_counter() - begun), 1)
    return SegmentAnswer(size=report.size, counts=counts, iou=round(answer.iou, 4), ms=spent_ms)


@router.post("/propagate")
def propagate(study: StudyId, clip: ClipId, request: PropagateRequest, parts: Parts, user: User) -> Propagated:
    """Carry the mask of a structure to the outlined frames that are nearer to this frame than to another anchor."""
    report = find_clip(parts, study, clip)
    _check_frame(report, request.frame)
    structure = _structure(request.structure)
    masks = dict(parts.results.masks(study, clip))
    start: Bool[np.ndarray, "h w"] = _labels(parts, study, report, request.frame) == structure
    if not start.any():
        name = structure.display_name
        raise PageError(f"there is no {name} on frame {request.frame}; draw it first", 422)
    moved = _ask(parts, study, clip, lambda opened: opened.clip.propagate(request.frame, structure, start))
    empty = np.zeros(report.size, np.uint8)
    frames = {request.frame: empty, **masks} if masks else dict.fromkeys(range(report.frames), empty)
    before = parts.corrections.read(study, clip).maps
    labels = {frame: before.get(frame, found) for frame, found in frames.items() if frame < len(moved)}
    what = f"{structure.display_name} propagated from frame {request.frame}"
    parts.corrections.change(
        study, clip, what, user.user, lambda stored: spread_masks(stored, (request.frame, structure), moved, labels)
    )
    return Propagated(**dict(_corrected(parts, study, clip)), frames=len(labels))


@router.get("/embedding/{frame}", response_class=Response, responses={200: {"content": {_BYTES: {}}}})
def embedding(study: StudyId, clip: ClipId, frame: FrameNumber, parts: Parts) -> Response:
    """What the decoder in the browser needs to know of a frame: ``EAEMB1``, length and JSON of the header, float32."""
    _check_frame(find_clip(parts, study, clip), frame)

    def ask(opened: OpenClip) -> bytes:
        tensors = {name: np.asarray(value, "<f4") for name, value in opened.clip.embedding(frame).items()}
        header = {
            "tensors": [{"name": name, "shape": list(one.shape), "dtype": "float32"} for name, one in tensors.items()],
            "square_from_native": opened.clip.square_from_native.tolist(),
            "input_size": opened.clip.input_size,
        }
        return packed(EMBEDDING_MAGIC, header, b"".join(one.tobytes() for one in tensors.values()))

    headers = {"cache-control": "private, max-age=3600"}
    return Response(_ask(parts, study, clip, ask), media_type=_BYTES, headers=headers)


@router.get("/calipers")
def calipers(study: StudyId, clip: ClipId, parts: Parts) -> Calipers:
    """The calipers of a clip."""
    return Calipers(calipers=parts.calipers.of_clip(study, find_clip(parts, study, clip)))


@router.put("/calipers")
def add_caliper(study: StudyId, clip: ClipId, change: CaliperChange, parts: Parts, user: User) -> Caliper:
    """Measure a distance."""
    return parts.calipers.put(study, find_clip(parts, study, clip), change, user.user)


@router.put("/calipers/{caliper}")
def put_caliper(
    study: StudyId, clip: ClipId, caliper: CaliperId, change: CaliperChange, parts: Parts, user: User
) -> Caliper:
    """Measure a distance under a name of the browser's choice, or move it."""
    named = change.model_copy(update={"id": caliper})
    return parts.calipers.put(study, find_clip(parts, study, clip), named, user.user)


@router.delete("/calipers/{caliper}", status_code=204)
def delete_caliper(study: StudyId, clip: ClipId, caliper: CaliperId, parts: Parts, user: User) -> None:
    """Delete a caliper."""
    find_clip(parts, study, clip)
    parts.calipers.delete(study, clip, caliper, user.user)


def _ask(parts: PageParts, study: str, clip: str, ask: Callable[[OpenClip], Any]) -> Any:
    """Ask an open clip; a question that does not suit it is one line."""
    try:
        with parts.clips.using(study, clip) as opened:
            return ask(opened)
    except ReviewError as error:
        raise PageError(str(error), 422) from None
    except PageError:
        raise
    except ValueError as error:  # a prompt outside the frame; its text holds numbers only
        raise PageError(f"the prompt does not suit the frame ({error}); click inside it", 422) from None


def _labels(parts: PageParts, study: str, report: ClipReport, frame: int) -> np.ndarray:
    """The label map of a frame as it is: a person's, else the analysis's, else empty."""
    drawn = parts.corrections.read(study, report.clip_id).maps.get(frame)
    found = parts.results.masks(study, report.clip_id).get(frame) if drawn is None else drawn
    return np.zeros(report.size, np.uint8) if found is None else found


def _corrected(parts: PageParts, study: str, clip: str) -> Corrected:
    can_undo, can_redo = parts.steps.possible(study)
    state = parts.results.state(study)
    shown, values = parts.reviews.clip(study, clip, state), parts.reviews.values(study, state)
    return Corrected(clip=shown, values=values, can_undo=can_undo, can_redo=can_redo)


def _structure(key: str) -> Structure:
    try:
        return Structure.from_key(key)
    except ValueError as error:
        raise PageError(str(error), 422) from None


def _check_frame(report: ClipReport, frame: int) -> None:
    if frame >= report.frames:
        raise PageError(f"frame {frame} is not in the clip; it has the frames 0 to {report.frames - 1}", 422)
