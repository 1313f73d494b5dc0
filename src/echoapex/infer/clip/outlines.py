"""Outlines of the structures that a view shows, on chosen frames, in native pixels.

* Masks of neighbouring frames steady each other: a chamber does not vanish for a single frame, nor change its name for
  a few.
* Small connected components apart from the structure are noise; they are removed before anything is measured.
* Label maps are kept compressed, since a map of long runs shrinks a hundredfold.
* Contours are sub-pixel with few points. They are the evidence from which a value can be computed again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from echoapex.data.preprocess import probabilities_to_native
from echoapex.domain import Evidence, Segmentation, Spacing
from echoapex.domain.clip import Size
from echoapex.infer.clip.models import Corrector
from echoapex.infer.clip.reading import ClipReading
from echoapex.measure import (
    AtrialShape,
    LvShape,
    MeasureError,
    atrial_shape_of_outline,
    lv_shape_of_outline,
    trace_outline,
)
from echoapex.vocabulary import CHAMBERS, VISIBLE_STRUCTURES, Structure

REACH_S = 0.03
"""Standard deviation in s of the temporal weights; the fastest wall moves by about a millimetre in this time."""
NAME_REACH_S = 0.25
"""The same for names: a chamber keeps the name that it has most of the time within about half a second."""
LEAST_AREA_SHARE = 0.1
"""Share of a structure's median area in the clip; a frame with less counts as having lost the structure."""
LEAST_PEAK = 0.2
"""A lost structure stays lost if its highest probability on the frame is below this."""
_LEAST_NAME_SHARE = 0.4
"""Least share of the votes of neighbouring frames with which a part of a chamber keeps its name."""
_RELATIVE_THRESHOLD = 0.6
_HALF = 0.5

Maps = Float[np.ndarray, "frames structures size size"]
_ZLIB_LEVEL = 1  # fast; label maps are runs, higher levels gain little
LEAST_COMPONENT_SHARE = 0.15
"""Share of the largest component below which a component is removed; a structure cut by the sector keeps both parts."""
Contour = tuple[tuple[float, float], ...]
TOLERANCE_PX = 0.35
"""Largest distance between an outline and its simplified contour; areas change by well under one percent."""
PROBE_POINT = "probe"
"""Name of the transducer's position in the evidence; it tells base from apex if no left atrium is outlined."""


def steady_masks(probabilities: Maps, times_s: Sequence[float]) -> Maps:
    """Average probabilities with neighbours in time; recover a lost structure by a relative threshold.

    A frame whose neighbours are far away, as in a still, keeps its own probabilities. A structure that is lost on a
    frame (see ``LEAST_AREA_SHARE``), or on all of them, but not without any sign is scaled such that its mask is where
    its probability is at least six tenths of its highest.

    Args:
        probabilities: of each structure that the view shows, frames in order of time.
        times_s: of the frames, rising.
    """
    steadied = _averaged(np.asarray(probabilities, np.float32), np.asarray(times_s, float), REACH_S)
    areas = (steadied > _HALF).sum(axis=(2, 3))
    median = np.median(areas, axis=0)
    peaks = steadied.max(axis=(2, 3), initial=0.0)
    sought = (median > 0) | ~(np.asarray(probabilities) > _HALF).any(axis=(0, 2, 3))
    lost = sought & (areas <= LEAST_AREA_SHARE * median) & (peaks >= LEAST_PEAK)
    for frame, structure in np.argwhere(lost):
        found = steadied[frame, structure]
        found *= np.maximum(1.0, _HALF / (_RELATIVE_THRESHOLD * peaks[frame, structure]))
    return np.asarray(np.minimum(steadied, 1.0))


def settle_names(probabilities: Maps, times_s: Sequence[float], structures: Sequence[Structure]) -> Maps:
    """Give a chamber, or a part of it that lies apart, the name that its place has most of the time.

    Only whole connected parts change their names, so borders between chambers stay where they are.

    Args:
        probabilities: of the structures, in this order, frames in order of time.
        times_s: of the frames, rising.
        structures: names of the second axis.
    """
    chambers = [place for place, structure in enumerate(structures) if structure in CHAMBERS]
    settled = np.array(probabilities, np.float32)
    if len(chambers) < 2 or len(settled) < 2:
        return settled
    usual = _averaged(settled[:, chambers], np.asarray(times_s, float), NAME_REACH_S)
    for frame, around in zip(settled, usual, strict=True):
        before = frame.copy()
        for own, place in enumerate(chambers):
            count, parts = cv2.connectedComponents((before[place] > _HALF).astype(np.uint8), connectivity=4)
            for number in range(1, count):
                part = parts == number
                votes = around[:, part].mean(axis=1)
                if votes[own] < _LEAST_NAME_SHARE * votes.sum() and votes.argmax() != own:
                    other = frame[chambers[int(votes.argmax())]]
                    other[part] = np.maximum(other[part], before[place][part])
                    frame[place][part] = 0
    return settled


def _averaged(probabilities: np.ndarray, times_s: np.ndarray, reach_s: float) -> np.ndarray:
    """Gaussian weights in time, one row of weights per frame."""
    weights = np.exp(-0.5 * ((times_s[:, None] - times_s[None]) / reach_s) ** 2)
    weights[weights < 0.01] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    averaged = np.empty_like(probabilities)
    for frame, row in enumerate(weights):
        near = np.flatnonzero(row)
        averaged[frame] = np.tensordot(row[near].astype(np.float32), probabilities[near], axes=1)
    return averaged


class LabelMaps(Mapping[int, UInt8[np.ndarray, "height width"]]):
    """Label maps by native frame number, of one size, in memory as zlib streams."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self._packed: dict[int, bytes] = {}

    def __setitem__(self, frame: int, labels: UInt8[np.ndarray, "height width"]) -> None:
        if labels.shape != self.size or labels.dtype != np.uint8:
            raise ValueError(f"a label map of {labels.dtype} {labels.shape} in a clip of {self.size}")
        self._packed[frame] = zlib.compress(np.ascontiguousarray(labels).tobytes(), _ZLIB_LEVEL)

    def __getitem__(self, frame: int) -> UInt8[np.ndarray, "height width"]:
        labels: UInt8[np.ndarray, "height width"] = np.frombuffer(
            zlib.decompress(self._packed[frame]), np.uint8
        ).reshape(self.size)
        return labels

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, frame: object) -> bool:
        return frame in self._packed

    def __iter__(self) -> Iterator[int]:
        return iter(self.frames)

    @property
    def frames(self) -> tuple[int, ...]:
        """Native frame numbers, ascending."""
        return tuple(sorted(self._packed))

    def nearest(self, frame: int) -> int | None:
        """The frame with a label map nearest to ``frame``; None when there is none."""
        return min(self._packed, key=lambda known: (abs(known - frame), known), default=None)


def drop_small_components(
    probabilities: Float[np.ndarray, "structures size size"],
) -> Float[np.ndarray, "structures size size"]:
    """Set small separate connected components of a mask (probability above one half) to zero."""
    cleaned = np.array(probabilities, np.float32)
    for structure in cleaned:
        count, parts, stats, _ = cv2.connectedComponentsWithStats((structure > 0.5).astype(np.uint8), connectivity=4)
        if count <= 2:  # background and at most one part
            continue
        areas = stats[1:, cv2.CC_STAT_AREA]
        small = 1 + np.flatnonzero(areas < LEAST_COMPONENT_SHARE * areas.max())
        structure[np.isin(parts, small)] = 0.0
    return cleaned


@dataclass(frozen=True, eq=False)
class ClipOutlines:
    """Label maps by native frame, and the predicted overlap (IoU, 0 to 1) of each structure on each frame.

    ``corrected`` names the structures whose outline on a frame is a person's; the predicted overlap of the outline that
    was there before is kept, so that a correction changes nothing but what rests on it.
    """

    labels: LabelMaps
    overlaps: dict[int, dict[Structure, float]] = field(default_factory=dict)
    corrected: dict[int, frozenset[Structure]] = field(default_factory=dict)
    _contours: dict[tuple[int, Structure], Contour] = field(default_factory=dict, init=False)

    def add(self, segmentation: Segmentation) -> None:
        """Keep the label map of one frame."""
        self.labels[segmentation.frame] = segmentation.labels
        for structure in Structure:
            self._contours.pop((segmentation.frame, structure), None)
        self.overlaps[segmentation.frame] = dict(segmentation.confidence)
        if segmentation.corrected:
            self.corrected[segmentation.frame] = segmentation.corrected

    def contour(self, frame: int, structure: Structure) -> Contour:
        """The contour of a structure on an outlined frame, traced once; empty where there is none."""
        key = (frame, structure)
        if key not in self._contours:
            self._contours[key] = trace_contour(self.labels[frame] == structure)
        return self._contours[key]

    def mean_overlaps(self) -> dict[Structure, float]:
        """Mean predicted overlap of each structure over the frames."""
        structures = dict.fromkeys(structure for frame in self.overlaps.values() for structure in frame)
        return {
            structure: float(np.mean([frame[structure] for frame in self.overlaps.values() if structure in frame]))
            for structure in structures
        }

    def overlap(self, frames: Sequence[int], structure: Structure) -> float | None:
        """Mean predicted overlap of one structure on some frames, 1 for a person's; None where it was not outlined."""
        known = [found for frame in frames if (found := self.trust(frame, structure)) is not None]
        return float(np.mean(known)) if known else None

    def trust(self, frame: int, structure: Structure) -> float | None:
        """Predicted overlap of one structure on one frame, 1 if its outline is a person's; None without an outline."""
        if structure in self.corrected.get(frame, ()):
            return 1.0
        return self.overlaps.get(frame, {}).get(structure)


def outline_structures(
    reading: ClipReading,
    rows: Sequence[int],
    outlines: ClipOutlines | None = None,
    structures: Sequence[Structure] | None = None,
) -> ClipOutlines:
    """Outline the structures of the view on some rows of the clip; frames already in ``outlines`` are skipped.

    Neighbours in time steady each other. A structure that was not found on the frame itself has no predicted overlap,
    whatever its neighbours show: its presence and its absence are both uncertain, and nothing is measured there.
    Nothing under a colour Doppler box is labelled: colour hides the tissue.
    """
    outlines = outlines or ClipOutlines(LabelMaps(reading.header.size))
    sought = VISIBLE_STRUCTURES[reading.view] if structures is None else tuple(structures)
    pending = [row for row in rows if reading.clip.frame_indices[row] not in outlines.labels]
    models = reading.interpreter
    if isinstance(models, Corrector):
        found = models.correct_outlines(pending, sought, lambda: _outline(reading, pending, sought))
    else:
        found = _outline(reading, pending, sought)
    for segmentation in found:
        outlines.add(segmentation)
    return outlines


def _outline(reading: ClipReading, rows: Sequence[int], structures: Sequence[Structure]) -> list[Segmentation]:
    """The outlines of some rows as the models see them."""
    found = list(reading.interpreter.segment(reading.encoded, rows, structures))
    if not found:
        return []
    times_s = [reading.clip.frame_times_s[row] for row, _, _ in found]
    steadied = steady_masks(np.stack([probabilities for _, probabilities, _ in found]), times_s)
    segmentations = []
    named = settle_names(steadied, times_s, structures)
    for (row, own, overlap), probabilities in zip(found, named, strict=True):
        cleaned = drop_small_components(probabilities)
        labels = probabilities_to_native(cleaned, reading.clip.transform, [int(item) for item in structures])
        found_here = (own > 0.5).any(axis=(1, 2))
        segmentation = Segmentation(
            frame=reading.clip.frame_indices[row],
            labels=_without_colour(labels, reading),
            confidence=dict(zip(structures, (np.clip(overlap, 0, 1) * found_here).tolist(), strict=True)),
        )
        segmentations.append(segmentation)
    return segmentations


def _without_colour(
    labels: UInt8[np.ndarray, "height width"], reading: ClipReading
) -> UInt8[np.ndarray, "height width"]:
    if reading.clip.colour is not None:
        x0, y0, x1, y1 = (max(0, round(edge)) for edge in reading.clip.colour)
        labels[y0:y1, x0:x1] = 0
    return labels


def trace_contour(mask: Bool[np.ndarray, "height width"]) -> Contour:
    """The closed contour of the largest part of a mask in native pixels; empty for an empty mask."""
    try:
        outline = trace_outline(mask)
    except MeasureError:
        return ()
    simplified = cv2.approxPolyDP(outline.astype(np.float32)[:, None], TOLERANCE_PX, True)[:, 0]
    return tuple((round(float(x), 2), round(float(y), 2)) for x, y in simplified)


def contour_key(structure_key: str, frame: int) -> str:
    """The name of a contour in evidence: ``lv_cavity@12``."""
    return f"{structure_key}@{frame}"


def collect_contours(
    outlines: ClipOutlines, frames: Sequence[int], structures: Sequence[Structure]
) -> dict[str, Contour]:
    """Contours of some structures on some frames, by their names in evidence; an absent structure has none."""
    contours: dict[str, Contour] = {}
    for frame in frames:
        if frame not in outlines.labels:
            continue
        for structure in structures:
            contour = outlines.contour(frame, structure)
            if contour:
                contours[contour_key(structure.key, frame)] = contour
    return contours


def spacing_of_evidence(evidence: Evidence) -> Spacing | None:
    """The calibration that is written in the evidence; None where there is none."""
    return Spacing(evidence.row_mm, evidence.column_mm) if evidence.row_mm and evidence.column_mm else None


def outline_from_evidence(evidence: Evidence, structure: Structure, frame: int) -> np.ndarray:
    """The outline of a structure on one frame as it is written, with a point about every pixel.

    Raises:
        KeyError: the evidence has no such contour.
    """
    return _densely(np.array(evidence.contours_xy[contour_key(structure.key, frame)]))


def shape_from_evidence(evidence: Evidence, frame: int) -> LvShape:
    """The LV shape on one frame, computed from the evidence alone.

    Raises:
        KeyError: the evidence has no LV contour on that frame.
        MeasureError: the contour is too small.
    """
    has_atrium = contour_key(Structure.LEFT_ATRIUM.key, frame) in evidence.contours_xy
    return lv_shape_of_outline(
        outline_from_evidence(evidence, Structure.LV_CAVITY, frame),
        spacing_of_evidence(evidence),
        outline_from_evidence(evidence, Structure.LEFT_ATRIUM, frame) if has_atrium else None,
        evidence.points_xy.get(PROBE_POINT),
    )


VENTRICLE_OF = {Structure.LEFT_ATRIUM: Structure.LV_CAVITY, Structure.RIGHT_ATRIUM: Structure.RIGHT_VENTRICLE}
"""The ventricle that each atrium opens into."""


def atrial_shape_from_evidence(evidence: Evidence, atrium: Structure, frame: int) -> AtrialShape:
    """The shape of an atrium on one frame, computed from what is written in the evidence and nothing else.

    Raises:
        KeyError: the evidence has no contour of the atrium or of its ventricle on that frame.
        MeasureError: the clip is not calibrated, the two do not border each other, or the atrium is too small.
    """
    spacing = spacing_of_evidence(evidence)
    if spacing is None:
        raise MeasureError("an atrium is measured in mm, but the clip has no spacing; give a calibrated clip")
    outline = outline_from_evidence(evidence, atrium, frame)
    return atrial_shape_of_outline(outline, outline_from_evidence(evidence, VENTRICLE_OF[atrium], frame), spacing)


def _densely(contour: np.ndarray) -> np.ndarray:
    """A contour with a point about every pixel, since the border with the atrium is decided point by point."""
    steps = np.roll(contour, -1, axis=0) - contour
    counts = np.maximum(1, np.rint(np.linalg.norm(steps, axis=1))).astype(int)
    piece = np.repeat(np.arange(len(contour)), counts)
    within = np.arange(len(piece)) - np.repeat(np.cumsum(counts) - counts, counts)
    dense: np.ndarray = contour[piece] + steps[piece] * (within * (1.0 / counts[piece]))[:, None]
    return dense
