"""Outlines of the structures that a view shows, on chosen frames, brought home to native pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from echoapex.data.preprocess import probabilities_to_native
from echoapex.domain import Segmentation
from echoapex.infer.islands import remove_islands
from echoapex.infer.label_maps import LabelMaps
from echoapex.infer.reading import ClipReading
from echoapex.infer.steady_masks import steady_masks
from echoapex.vocabulary import VISIBLE_STRUCTURES, Structure


@dataclass(frozen=True, eq=False)
class Outlines:
    """Label maps by native frame, and the predicted overlap (IoU, 0 to 1) of each structure on each frame."""

    labels: LabelMaps
    overlaps: dict[int, dict[Structure, float]] = field(default_factory=dict)

    def add(self, segmentation: Segmentation) -> None:
        """Keep the label map of one frame."""
        self.labels[segmentation.frame] = segmentation.labels
        self.overlaps[segmentation.frame] = dict(segmentation.confidence)

    def mean_overlaps(self) -> dict[Structure, float]:
        """Mean predicted overlap of each structure over the frames."""
        structures = dict.fromkeys(structure for frame in self.overlaps.values() for structure in frame)
        return {
            structure: float(np.mean([frame[structure] for frame in self.overlaps.values() if structure in frame]))
            for structure in structures
        }

    def overlap(self, frames: Sequence[int], structure: Structure) -> float | None:
        """Mean predicted overlap of one structure on some frames; None where it was not outlined."""
        known = [self.overlaps[frame][structure] for frame in frames if structure in self.overlaps.get(frame, {})]
        return float(np.mean(known)) if known else None


def outline_structures(reading: ClipReading, rows: Sequence[int], outlines: Outlines | None = None) -> Outlines:
    """Outline what the view shows on some rows of the clip; frames that ``outlines`` has already are not done again.

    Neighbours in time hold each other steady. A structure that was not found on the frame itself has no predicted
    overlap, whatever its neighbours show: nobody may be sure of it, or of its absence, and nothing is measured there.
    Nothing under a colour Doppler box is labelled: colour hides the tissue.
    """
    outlines = outlines or Outlines(LabelMaps(reading.header.size))
    structures = VISIBLE_STRUCTURES[reading.view]
    pending = [row for row in rows if reading.clip.frame_indices[row] not in outlines.labels]
    found = list(reading.interpreter.segment(reading.encoded, pending, structures))
    if not found:
        return outlines
    times_s = [reading.clip.frame_times_s[row] for row, _, _ in found]
    steadied = steady_masks(np.stack([probabilities for _, probabilities, _ in found]), times_s)
    for (row, own, overlap), probabilities in zip(found, steadied, strict=True):
        cleaned = remove_islands(probabilities)
        labels = probabilities_to_native(cleaned, reading.clip.transform, [int(item) for item in structures])
        found_here = (own > 0.5).any(axis=(1, 2))
        segmentation = Segmentation(
            frame=reading.clip.frame_indices[row],
            labels=_without_colour(labels, reading),
            confidence=dict(zip(structures, (np.clip(overlap, 0, 1) * found_here).tolist(), strict=True)),
        )
        outlines.add(segmentation)
    return outlines


def _without_colour(
    labels: UInt8[np.ndarray, "height width"], reading: ClipReading
) -> UInt8[np.ndarray, "height width"]:
    if reading.clip.colour is not None:
        x0, y0, x1, y1 = (max(0, round(edge)) for edge in reading.clip.colour)
        labels[y0:y1, x0:x1] = 0
    return labels
