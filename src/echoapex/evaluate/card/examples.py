"""Examples of outlines: the best, the median and the worst frame of each structure; and figures of the view scores.

Each example shows the frame, the true outline and the written outline. Pictures show the square around the sector and
are black outside the sector, so that no burned-in text of a real clip gets onto the page. The figures of the views are
the confusion matrix and the reliability diagram.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from echoapex.data.preprocess import FramePreparer, to_grey
from echoapex.domain import Clip, FrameTransform
from echoapex.evaluate.card.card_file import Example, PartConfusion, PartReliability, Point
from echoapex.evaluate.card.figures import Axis, axes, curve, dot, line, svg, text, turned_text
from echoapex.evaluate.card.rows import MaskRow, ScoredPart
from echoapex.evaluate.card.targets import CardError
from echoapex.evaluate.cases import nearest_frame
from echoapex.evaluate.reference import LabelMaps, ReferenceClip, ReferenceSet, Results, read_predictions
from echoapex.io.sector import find_sector
from echoapex.io.study_files import read_clip
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.vocabulary import Structure, View

_CELL, _LEFT, _TOP = 30, 108, 92
_RELIABILITY_SIDE = 300

_SIDE, _GAP, _HEAD, _FOOT = 158, 6, 24, 18
_GROUP_GAP = 24
_RANKS = ("best", "median", "worst")

PICTURE_PX = 360
PICTURE_FOLDER = "examples"
Rank = Literal["best", "median", "worst"]
Outlines = tuple[tuple[Point, ...], ...]
_TOLERANCE_PX = 0.4
_JPEG_QUALITY = 88
_SAMPLED_FRAMES = 16


def choose_rows(masks: Sequence[MaskRow]) -> dict[Rank, MaskRow]:
    """The masks with the best, the median and the worst Dice, without missing ones; ties are ordered by name."""
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
    """Write the pictures of a part below ``out``, and return their description.

    Args:
        part: the scores.
        reference: the data set that was scored.
        predictions: folder of the results that were scored.
        out: folder of the card.

    Raises:
        CardError: a chosen clip is not in the reference, or its results are missing.
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


def trace_outlines(mask: Bool[np.ndarray, "height width"], transform: FrameTransform) -> Outlines:
    """All outlines of a mask, including holes, in pixels of the picture; smoothed by less than a native pixel."""
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
    """The picture of a frame; all black if no sector is known, because the image may then contain names."""
    picture = preparer.prepare(to_grey(frame))
    return picture if preparer.has_sector else np.zeros_like(picture)


def draw_examples_figure(examples: Sequence[Example], folder: Path) -> str:
    """Draw all examples of one part, two structures per row; the pictures are read from the folder of the card.

    Raises:
        CardError: a picture cannot be read.
    """
    structures = list(dict.fromkeys(example.structure for example in examples))
    group_width = 3 * _SIDE + 2 * _GAP
    row_height = _HEAD + _SIDE + _FOOT + 14
    parts: list[str] = []
    for number, structure in enumerate(structures):
        left, top = (number % 2) * (group_width + _GROUP_GAP), (number // 2) * row_height
        parts.append(text(left, top + 14, structure.display_name, "title"))
        for example in (each for each in examples if each.structure is structure):
            x = left + _RANKS.index(example.rank) * (_SIDE + _GAP)
            parts += _picture(example, folder, x, top + _HEAD)
    columns, rows = min(len(structures), 2), -(-len(structures) // 2)
    width = columns * group_width + (columns - 1) * _GROUP_GAP
    return svg(width, rows * row_height - 8, parts, f"Examples of outlines, {examples[0].part}")


def draw_confusion(found: PartConfusion) -> str:
    """Draw the confusion matrix: a row per true view, cells shaded by their share of the row.

    Correct cells have another colour. Empty columns are left out. Heavier lines separate the probes.
    """
    confusion = found.confusion
    shown = [
        column
        for column, name in enumerate(confusion.columns)
        if name in confusion.rows or any(row[column] for row in confusion.counts)
    ]
    width, height = _LEFT + _CELL * len(shown) + 14, _TOP + _CELL * len(confusion.rows) + 10
    parts = [
        text(_LEFT - 10, _TOP - 8, "true ↓   called →", "small", "end"),
        *_lattice(len(shown), len(confusion.rows)),
        *_between_probes(confusion.rows, [confusion.columns[column] for column in shown]),
    ]
    for place, column in enumerate(shown):
        x = _LEFT + _CELL * (place + 0.5)
        parts.append(turned_text(x + 3, _TOP - 8, view_label(confusion.columns[column]), "", -60))
    for number, (view, counts) in enumerate(zip(confusion.rows, confusion.counts, strict=True)):
        y = _TOP + _CELL * number
        parts.append(text(_LEFT - 10, y + _CELL / 2 + 4, view_label(view.value), "", "end"))
        parts += _row(y, [(counts[column], confusion.columns[column] == view.value) for column in shown])
    return svg(width, height, parts, f"Confusion matrix of the views, {found.part}")


def draw_reliability(found: PartReliability) -> str:
    """Draw accuracy by confidence: on the diagonal both are equal; larger dots are bins with more clips."""
    side = _RELIABILITY_SIDE
    across, up = Axis(0, 1, 58, side + 58), Axis(0, 1, side + 28, 28)
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    parts = axes(across, up, ("probability of the called view", "share that is right"), (ticks, ticks))
    parts.append(line(across.place(0), up.place(0), across.place(1), up.place(1), "guide"))
    places = [(across.place(each.confidence), up.place(each.accuracy)) for each in found.bins]
    for each, (x, y) in zip(found.bins, places, strict=True):
        parts.append(line(x, y, x, up.place(each.confidence), "limit"))
    parts.append(curve(places, "s1"))
    most = max(each.cases for each in found.bins)
    for each, (x, y) in zip(found.bins, places, strict=True):
        said = f"{each.cases} clips: probability {each.confidence:.2f}, right {each.accuracy:.2f}"
        parts.append(dot(x, y, 3 + 4 * (each.cases / most) ** 0.5, "f1", said))
        away = 20 if each.accuracy < each.confidence else -11  # on the side away from the diagonal
        parts.append(text(x, y + away, str(each.cases), "tick", "middle"))
    return svg(side + 76, side + 72, parts, f"Reliability of the views, {found.part}")


def view_label(name: str) -> str:
    """The short name of a view, such as ``PSAX AV``."""
    return name.replace("_", " ").replace("SUBCOSTAL", "SUBCOST.").replace("none", "no view")


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


def _preparer(clip: Clip) -> FramePreparer:
    sector = clip.header.sector
    if sector is None:
        rows = np.unique(np.linspace(0, len(clip.frames) - 1, _SAMPLED_FRAMES).round().astype(int))
        sector = find_sector(np.stack([to_grey(clip.frames[row]) for row in rows]))
    return FramePreparer(clip.header.size, sector, PICTURE_PX)


def _written_labels(results: Results, clip: ReferenceClip, frame: int) -> np.ndarray:
    """The written label map that was scored for a frame."""
    maps: LabelMaps = results.read_masks(results.clips[clip.sha256])
    nearest = nearest_frame(frame, maps, clip.frame_times_s)
    if nearest is None:
        raise CardError(f"{results.folder}: holds no mask of frame {frame} of {clip.name}; run echoapex evaluate again")
    return maps[nearest]


def _picture(example: Example, folder: Path, x: float, y: float) -> list[str]:
    path = folder / example.picture
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror}); make the card again") from error
    scale = _SIDE / example.size
    said = f"{example.rank}: Dice {example.dice:.3f}, {example.clip}, frame {example.frame}"
    return [
        f'<g transform="translate({x:g} {y:g}) scale({scale:.5f})"><title>{escape(said)}</title>',
        f'<image width="{example.size}" height="{example.size}" href="data:image/jpeg;base64,{content}"/>',
        f'<path d="{_path(example.written_outlines)}" class="written"/>',
        f'<path d="{_path(example.true_outlines)}" class="truth"/></g>',
        text(x, y + _SIDE + 13, f"{example.rank} {example.dice:.3f}", "cell"),
        text(x + 6, y + 15, "" if example.written_outlines else "nothing written", "onpicture"),
        text(
            x + _SIDE,
            y + _SIDE + 13,
            view_label(example.view.value) if example.view is not None else "",
            "small",
            "end",
        ),
    ]


def _path(outlines: Sequence[Sequence[Point]]) -> str:
    return "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in outline) + "Z" for outline in outlines)


def _lattice(columns: int, rows: int) -> list[str]:
    right, bottom = _LEFT + _CELL * columns, _TOP + _CELL * rows
    across = [line(_LEFT, _TOP + _CELL * row, right, _TOP + _CELL * row, "grid") for row in range(rows + 1)]
    down = [line(_LEFT + _CELL * each, _TOP, _LEFT + _CELL * each, bottom, "grid") for each in range(columns + 1)]
    return across + down


def _between_probes(rows: Sequence[View], columns: Sequence[str]) -> list[str]:
    """Lines between probes; the column of clips without a view is separate."""
    right, bottom = _LEFT + _CELL * len(columns), _TOP + _CELL * len(rows)
    probes = [View(name).probe if name in list(View) else None for name in columns]
    down = [_LEFT + _CELL * place for place in range(1, len(probes)) if probes[place] is not probes[place - 1]]
    across = [_TOP + _CELL * place for place in range(1, len(rows)) if rows[place].probe is not rows[place - 1].probe]
    return [line(x, _TOP, x, bottom, "axis") for x in down] + [line(_LEFT, y, right, y, "axis") for y in across]


def _row(y: float, calls: Sequence[tuple[int, bool]]) -> list[str]:
    """The cells of one true view, from counts and whether each is correct."""
    total = max(sum(count for count, _ in calls), 1)
    parts = []
    for place, (count, right) in enumerate(calls):
        if not count:
            continue
        x, share = _LEFT + _CELL * place, count / total
        shade = 0.12 + 0.88 * share
        style = "rightfill" if right else "wrongfill"
        parts.append(
            f'<rect x="{x + 1}" y="{y + 1}" width="{_CELL - 2}" height="{_CELL - 2}" rx="2" class="{style}" '
            f'fill-opacity="{shade:.2f}"/>'
        )
        parts.append(
            text(x + _CELL / 2, y + _CELL / 2 + 3.5, str(count), f"cell{' inverse' * (shade > 0.5)}", "middle")
        )
    return parts
