"""The archive as a map, the like of a clip, and what the encoder sees in a frame."""

from __future__ import annotations

from typing import Annotated, Literal

import cv2
import numpy as np
from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from echoapex.curation.archive_map import ArchiveMapError, colour_patches, draw_map, find_neighbours
from echoapex.serve.page.page_parts import Parts
from echoapex.serve.page.routes_studies import ClipId, StudyId
from echoapex.serve.page.schemas import StudyKey, Wire
from echoapex.serve.page.security import PageError
from echoapex.vocabulary import View

router = APIRouter(tags=["explore"])
_PATIENCE_S = 8.0
_NO_MAP = "the clip is not on the map: it was set aside, or its file is gone"


class MapPoint(Wire):
    """A clip on the map; the axes have no unit."""

    study: StudyKey
    clip: str
    x: float
    y: float
    view: View | None = None
    ef_percent: float | None = None
    vendor: str = ""


class ArchiveMap(Wire):
    """All clips that are encoded."""

    points: list[MapPoint]
    pending: int = Field(default=0, description="clips that are not encoded yet; ask again for them")


class Neighbour(Wire):
    """A clip that looks alike; the distance is one minus the cosine of the features."""

    study: StudyKey
    clip: str
    distance: float
    view: View | None = None


class Neighbours(Wire):
    """The nearest clips, the nearest first."""

    neighbours: list[Neighbour]


@router.get("/explore/map")
def show_map(parts: Parts, method: Literal["pca", "umap"] = "pca") -> ArchiveMap:
    """Each clip as a point, near to those that look alike."""
    clips, pending = parts.archive.clips(_PATIENCE_S)
    try:
        vectors = np.stack([clip.vector for clip in clips]) if clips else np.zeros((0, 1))
        places = draw_map(vectors, method)
    except ArchiveMapError as error:
        raise PageError(str(error), 409) from None
    points = [
        MapPoint(
            study=clip.study,
            clip=clip.label.clip,
            x=float(x),
            y=float(y),
            view=clip.label.view,
            ef_percent=clip.ef_percent,
            vendor=clip.vendor,
        )
        for clip, (x, y) in zip(clips, places, strict=True)
    ]
    return ArchiveMap(points=points, pending=pending)


@router.get("/explore/neighbours/{study}/{clip}")
def show_neighbours(
    study: StudyId, clip: ClipId, parts: Parts, count: Annotated[int, Query(ge=1, le=100)] = 8
) -> Neighbours:
    """The clips of the archive that look most alike."""
    clips, _ = parts.archive.clips()
    own = next((row for row, one in enumerate(clips) if (one.study, one.label.clip) == (study, clip)), None)
    if own is None:
        parts.studies.row(study)
        raise PageError(_NO_MAP, 404)
    near = find_neighbours(np.array([one.vector for one in clips]), own, count)
    return Neighbours(
        neighbours=[
            Neighbour(study=clips[row].study, clip=clips[row].label.clip, distance=distance, view=clips[row].label.view)
            for row, distance in near
        ]
    )


@router.get(
    "/explore/features/{study}/{clip}/{frame}",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}}},
)
def show_features(
    study: StudyId, clip: ClipId, frame: Annotated[int, Path(ge=0, lt=1_000_000)], parts: Parts
) -> Response:
    """The patch features of a frame as colours, native size; clear outside the ultrasound sector."""
    found = parts.archive.patches(study, clip, frame)
    colours = colour_patches(found.patches, found.inside.tolist())[found.frames.index(frame)]
    image = cv2.cvtColor(found.enlarge(colours), cv2.COLOR_RGBA2BGRA)
    written, content = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])
    if not written:
        raise PageError("the picture cannot be written; choose another frame", 500)
    return Response(content.tobytes(), media_type="image/webp", headers={"cache-control": "private, max-age=3600"})
