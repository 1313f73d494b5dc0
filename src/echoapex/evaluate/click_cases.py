"""The images of the click protocol: the square of the sector in native pixels, one structure at a time.

Every model gets the same square, blank outside the sector and not resized, so that none is helped by a better search
for the sector, and Dice is counted in native pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from echoapex.data.preprocess import FramePreparer, prepare_labels, square_box, to_grey
from echoapex.domain import Clip, Sector
from echoapex.evaluate.cases import MIN_VISIBLE_FRACTION
from echoapex.evaluate.reference import ReferenceClip, ReferenceSet
from echoapex.io.read_clip import read_clip
from echoapex.io.sector import find_sector
from echoapex.vocabulary import Structure, View


@dataclass(frozen=True, eq=False)
class ClickImage:
    """One labelled frame.

    Attributes:
        patient: whose heart it is.
        clip: the clip in words.
        view: the true view.
        frame: frame number.
        pixels: the grey square.
        labels: :class:`Structure` values of the same size.
        structures: those that are shown and outlined.
    """

    patient: str
    clip: str
    view: View
    frame: int
    pixels: UInt8[np.ndarray, "side side"]
    labels: UInt8[np.ndarray, "side side"]
    structures: tuple[Structure, ...]

    def truth(self, structure: Structure) -> Bool[np.ndarray, "side side"]:
        """The mask of one structure."""
        mask: Bool[np.ndarray, "side side"] = self.labels == structure
        return mask

    def seed(self, structure: Structure) -> int:
        """A number that belongs to this case alone, whatever other cases there are."""
        return zlib.crc32(f"{self.clip}/{self.frame}/{structure.key}".encode())


def choose_frames(
    reference: ReferenceSet, images: int = 0, seed: int = 0
) -> list[tuple[str, ReferenceClip, tuple[int, ...]]]:
    """Patient, clip and labelled frames, all of them or a random choice.

    Args:
        reference: the data set.
        images: how many frames; 0 takes all.
        seed: of the choice.
    """
    known = [
        (study.patient, clip, frame)
        for study in reference.studies
        for clip in study.clips
        for frame in sorted(clip.read_labels())
    ]
    order = np.random.default_rng(seed).permutation(len(known))
    chosen = sorted(order[: images or len(known)].tolist())
    grouped: dict[str, tuple[str, ReferenceClip, tuple[int, ...]]] = {}
    for patient, clip, frame in (known[index] for index in chosen):
        earlier = grouped.get(clip.name, (patient, clip, ()))[2]
        grouped[clip.name] = (patient, clip, (*earlier, frame))
    return list(grouped.values())


def read_click_images(chosen: Sequence[tuple[str, ReferenceClip, tuple[int, ...]]]) -> Iterator[ClickImage]:
    """Read the chosen frames, clip by clip; a frame that shows none of the outlined structures is passed over.

    Raises:
        ReadError: a clip cannot be read.
    """
    for patient, reference, frames in chosen:
        clip, labels = read_clip(reference.path), reference.read_labels()
        sector = clip.header.sector or find_sector(_sample(clip))
        for frame in frames:
            image = _square_image(clip, frame, sector, labels[frame])
            shown = tuple(s for s in reference.structures if (image[1] == s).mean() >= MIN_VISIBLE_FRACTION)
            if shown:
                # data sets of the protocol tell every view
                assert reference.view is not None
                yield ClickImage(patient, reference.name, reference.view, frame, *image, shown)


def _square_image(
    clip: Clip, frame: int, sector: Sector | None, labels: UInt8[np.ndarray, "height width"]
) -> tuple[UInt8[np.ndarray, "side side"], UInt8[np.ndarray, "side side"]]:
    x0, _, x1, _ = square_box(sector, clip.header.size)
    preparer = FramePreparer(clip.header.size, sector, x1 - x0)
    return preparer.prepare(to_grey(clip.frames[frame])), prepare_labels(labels, preparer.transform)


def _sample(clip: Clip) -> UInt8[np.ndarray, "frames height width"]:
    """About sixteen grey frames spread over the clip."""
    rows = np.unique(np.linspace(0, len(clip.frames) - 1, 16).round().astype(int))
    return np.stack([to_grey(clip.frames[row]) for row in rows])
