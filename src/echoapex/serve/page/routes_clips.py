"""Pictures and outlines of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from echoapex.domain import ClipReport
from echoapex.serve.page.cine import LARGEST_WIDTH, PICTURE_TYPE
from echoapex.serve.page.contours import contours_of, masks_of
from echoapex.serve.page.correction_schemas import ClipContours, FrameMaskSet
from echoapex.serve.page.page_parts import PageParts, Parts
from echoapex.serve.page.routes_studies import ClipId, StudyId
from echoapex.serve.page.security import PageError

router = APIRouter(prefix="/studies/{study}/clips/{clip}", tags=["clips"])
_BYTES = "application/octet-stream"
_PRIVATE = "private, no-cache"
"""Kept by the browser alone, which asks each time whether it is still the same."""


def find_clip(parts: PageParts, study: str, clip: str) -> ClipReport:
    """The current report of a clip.

    Raises:
        PageError: there is no such clip.
    """
    for report in parts.results.state(study).current.report.clips:
        if report.clip_id == clip:
            return report
    raise PageError("the study has no such clip; load the study again", 404)


@router.get("/cine", response_class=FileResponse, responses={200: {"content": {_BYTES: {}}}})
def cine(
    study: StudyId,
    clip: ClipId,
    request: Request,
    parts: Parts,
    width: Annotated[int, Query(ge=16, le=4096)] = LARGEST_WIDTH,
) -> Response:
    """All frames of a clip in one file: ``EACINE1``, length and JSON of the header, then the pictures."""
    report = find_clip(parts, study, clip)
    return _kept_file(request, parts, report, parts.cines.cine(study, report, width), _BYTES)


@router.get("/thumbnail", response_class=FileResponse, responses={200: {"content": {PICTURE_TYPE: {}}}})
def thumbnail(study: StudyId, clip: ClipId, request: Request, parts: Parts) -> Response:
    """A small picture of a clip with its outlines."""
    report = find_clip(parts, study, clip)
    path = parts.cines.thumbnail(study, report, parts.studies.places(study).revision)
    return _kept_file(request, parts, report, path, PICTURE_TYPE)


def _kept_file(request: Request, parts: PageParts, report: ClipReport, path: Path, kind: str) -> Response:
    headers = {"etag": parts.cines.etag(report, path), "cache-control": _PRIVATE}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(path.read_bytes(), media_type=kind, headers=headers)


@router.get("/contours")
def contours(study: StudyId, clip: ClipId, parts: Parts) -> ClipContours:
    """The current outlines of all structures on all frames."""
    find_clip(parts, study, clip)
    revision = parts.studies.places(study).revision
    found: ClipContours = parts.results.keep(
        ("contours", study, clip, revision), lambda: contours_of(parts.results.masks(study, clip))
    )
    return found


@router.get("/masks/{frame}")
def frame_masks(study: StudyId, clip: ClipId, frame: int, parts: Parts) -> FrameMaskSet:
    """The current masks of one frame."""
    report = find_clip(parts, study, clip)
    labels = parts.results.masks(study, clip).get(frame)
    return FrameMaskSet(size=report.size, structures={}) if labels is None else masks_of(labels)
