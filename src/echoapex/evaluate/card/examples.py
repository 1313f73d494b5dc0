"""The best, the median and the worst outline of each structure: the frame, what is true and what was written.

Pictures show the square of the sector, black outside of it, so that no burned-in text of a real clip reaches the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from echoapex.data.preprocess import FramePreparer, to_grey
from echoapex.domain import Clip, FrameTransform
from echoapex.evaluate.card.card_file import Example, Point
from echoapex.evaluate.card.errors import CardError
from echoapex.evaluate.card.scored_part import MaskRow, ScoredPart
from echoapex.evaluate.cases import nearest_frame
from echoapex.evaluate.predictions import Results, read_predictions
from echoapex.evaluate.reference import LabelMaps, ReferenceClip, ReferenceSet
from echoapex.io.atomic_file import write_bytes_atomically
from echoapex.io.read_clip import read_clip
from echoapex.io.sector import find_sector
from echoapex.vocabulary import Structure

PICTURE_PX = 360
PICTURE_FOLDER = "examples"
Rank = Literal["best", "median", "worst"]
Outlines = tuple[tuple[Point, ...], ...]
_TOLERANCE_PX = 0.4
_JPEG_QUALITY = 88
_SAMPLED_FRAMES = 16


def choose_rows(masks: Sequence[MaskRow]) -> dict[Rank, MaskRow]:
    """The best, the median and the worst by Dice of those with a written mask; a tie goes to the first by name."""
    known = sorted((row for row in masks if row.written), key=lambda row: (-row.dice, row.clip, row.frame))
    if not known:
        return {}
    chosen: dict[Rank, MaskRow] = {"best": known[0]}
    if len(known) > 2:
        chosen["median"] = known[len(known) // 2]
    if len(known) > 1:
        chosen["worst"] = known[-1]
    return chosen


def draw_examples(part: ScoredPart, reference: ReferenceSet, predictions: Path, out: Path) -> Iterator[Example]:
    """Write the pictures of a part below ``out`` and say what is on them.

    Args:
        part: the scores.
        reference: the data set that was scored, with its files.
        predictions: the results that were scored.
        out: folder of the card.

    Raises:
        CardError: a chosen clip is not in the reference, or its results are gone.
        PredictionError: results cannot be read.
        ReadError: a clip cannot be read.
    """
    clips = {clip.name: clip for study in reference.studies for clip in study.clips}
    results = {digest: each for each in read_predictions(predictions) for digest in each.clips}
    for structure in Structure:
        for rank, row in choose_rows([row for row in part.masks if row.structure is structure]).items():
            clip = clips.get(row.clip)
            if clip is None or clip.sha256 not in results:
                raise CardError(f"{part.folder}: {row.clip} is not among the files or results that the card was given")
            yield _draw(part, row, rank, (clip, results[clip.sha256]), out)


def _draw(part: ScoredPart, row: MaskRow, rank: Rank, found: tuple[ReferenceClip, Results], out: Path) -> Example:
    reference, results = found
    clip = read_clip(reference.path)
    preparer = _preparer(clip)
    picture = show_frame(preparer, clip.frames[row.frame])
    name = f"{PICTURE_FOLDER}/{part.name}-{row.structure.key}-{rank}.jpg"
    encoded, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert encoded
    write_bytes_atomically(out / name, content.tobytes())
    truth = reference.read_labels()[row.frame] == row.structure
    written = _written_labels(results, reference, row.frame)
    return Example(
        part=part.name,
        structure=row.structure,
        rank=rank,
        dice=row.dice,
        patient=row.patient,
        clip=row.clip,
        view=reference.view,
        frame=row.frame,
        picture=name,
        size=PICTURE_PX,
        true_outlines=trace_outlines(truth, preparer.transform),
        written_outlines=trace_outlines(written == row.structure, preparer.transform),
    )


def trace_outlines(mask: Bool[np.ndarray, "height width"], transform: FrameTransform) -> Outlines:
    """All outlines of a mask, holes too, in pixels of the picture; stairs are rounded by less than a native pixel."""
    scale = float(transform.matrix[0, 0])
    grey = cv2.warpAffine(
        mask.astype(np.uint8) * 255, transform.matrix[:2], (transform.target_size[1], transform.target_size[0])
    )
    if scale > 1:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.6 * scale), np.uint8)
    contours, _ = cv2.findContours((grey > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    simple = [cv2.approxPolyDP(contour, _TOLERANCE_PX, True)[:, 0] for contour in contours if len(contour) > 3]
    return tuple(tuple((float(x), float(y)) for x, y in contour) for contour in simple)


def show_frame(
    preparer: FramePreparer, frame: UInt8[np.ndarray, "height width *channels"]
) -> UInt8[np.ndarray, "size size"]:
    """The picture of a frame; black where no sector is known, since names cannot be told from the image then."""
    picture = preparer.prepare(to_grey(frame))
    return picture if preparer.has_sector else np.zeros_like(picture)


def _written_labels(results: Results, clip: ReferenceClip, frame: int) -> np.ndarray:
    """The label map that was scored for a frame."""
    maps: LabelMaps = results.read_masks(results.clips[clip.sha256])
    nearest = nearest_frame(frame, maps, clip.frame_times_s)
    if nearest is None:
        raise CardError(f"{results.folder}: holds no mask of frame {frame} of {clip.name}; run echoapex evaluate again")
    return maps[nearest]


def _preparer(clip: Clip) -> FramePreparer:
    sector = clip.header.sector
    if sector is None:
        rows = np.unique(np.linspace(0, len(clip.frames) - 1, _SAMPLED_FRAMES).round().astype(int))
        sector = find_sector(np.stack([to_grey(clip.frames[row]) for row in rows]))
    return FramePreparer(clip.header.size, sector, PICTURE_PX)
