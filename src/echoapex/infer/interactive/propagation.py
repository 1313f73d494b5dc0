"""From one corrected frame to the masks of a whole clip.

What the person changed on the corrected frame is carried to every other frame as a difference of logits: the automatic
mask of that frame plus (corrected minus automatic mask of the corrected one). Frame by frame, forward and backward,
this is blended with the answer of the decoder to the mask of the neighbouring frame, a click at its centre and the
name, so that the mask follows the motion and does not flicker. The share of the decoder was chosen on simulated studies
(docs/reference/measured-interactive.md). Without a structure name there is no automatic pass, and the neighbour's mask
is followed alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from echoapex.data.preprocess import PreparedClip, prepare_frames
from echoapex.domain.prompts import Prompt
from echoapex.infer.interactive.clicks import EncodedFrame, InteractiveSegmenter, Logits
from echoapex.io.clip_source import ClipSource
from echoapex.io.study_files import open_only_clip
from echoapex.models.encoder import EncodedClip
from echoapex.models.prompt_sampling import Click, centre_point
from echoapex.vocabulary import Structure

NEIGHBOUR_SHARE = 0.3
"""Weight of the decoder's answer to the neighbouring frame's mask."""

ClipMasks = Bool[np.ndarray, "frames height width"]


class InteractiveError(ValueError):
    """A request that cannot be answered; the message says what to change."""


@dataclass(frozen=True, eq=False)
class InteractiveClip:
    """A clip, encoded once, that answers prompts on any frame.

    Attributes:
        segmenter: the model.
        prepared: its frames in model pixels.
        encoded: what the encoder made of them.
        frames_kept: so many frames stay ready for prompts, about a megabyte each.
    """

    segmenter: InteractiveSegmenter
    prepared: PreparedClip
    encoded: EncodedClip
    frames_kept: int = 1
    _frames: OrderedDict[int, EncodedFrame] = field(default_factory=OrderedDict, init=False)

    @classmethod
    def open(cls, segmenter: InteractiveSegmenter, source: ClipSource) -> InteractiveClip:
        """Read and encode every frame.

        Raises:
            ReadError: a frame cannot be decoded.
        """
        prepared = prepare_frames(source, segmenter.input_size)
        return cls(segmenter, prepared, segmenter.encode_pixels(prepared.pixels, prepared.frame_times_s))

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return len(self.prepared.frame_indices)

    @property
    def size(self) -> tuple[int, int]:
        """Native height and width."""
        return self.prepared.header.size

    def frame(self, number: int) -> EncodedFrame:
        """One frame, ready for prompts.

        Raises:
            InteractiveError: there is no such frame.
        """
        if not 0 <= number < self.frame_count:
            raise InteractiveError(f"frame {number} is not in the clip; it has the frames 0 to {self.frame_count - 1}")
        if number not in self._frames:
            self._frames[number] = self.segmenter.frame(self.encoded, number, self.prepared.transform)
        self._frames.move_to_end(number)
        while len(self._frames) > self.frames_kept:
            self._frames.popitem(last=False)
        return self._frames[number]

    def automatic(self, number: int, structure: Structure) -> Logits:
        """The automatic mask of one structure on one frame."""
        return self.segmenter.segment(self.frame(number), Prompt(self.size, structure=structure))

    def automatic_masks(self, structure: Structure) -> ClipMasks:
        """The automatic mask of one structure on every frame."""
        return np.stack([self.automatic(number, structure) > 0 for number in range(self.frame_count)])

    def correct(self, number: int, clicks: Sequence[Click], structure: Structure | None = None) -> Logits:
        """Answer clicks one after another, each on the mask that the one before it left.

        Args:
            number: the frame.
            clicks: in the order in which they were made, native pixels; none asks for the automatic mask.
            structure: what is meant; then the automatic mask is the first that is corrected.

        Raises:
            InteractiveError: there is neither a click nor a name, or no such frame.
            ValueError: a click is outside the frame.
        """
        if not clicks and structure is None:
            raise InteractiveError("nothing was asked for; give a click or the name of a structure")
        frame = self.frame(number)
        logits = None if structure is None else self.automatic(number, structure)
        for count in range(1, len(clicks) + 1):
            prompt = _prompt(self.size, clicks[:count], structure)
            logits = self.segmenter.segment(frame, prompt, logits)
        assert logits is not None
        return logits

    def propagate(
        self, number: int, corrected: Logits, structure: Structure | None = None, within: range | None = None
    ) -> ClipMasks:
        """Carry the corrected mask of one frame through the clip, forward and backward.

        Args:
            number: the corrected frame.
            corrected: its logits, native pixels.
            structure: what is meant, where it has a name.
            within: the frames to carry it to, of which the corrected one is one; all by default.

        Returns:
            Masks of all frames in native pixels, empty outside ``within``; the corrected frame keeps its mask.
        """
        within = range(self.frame_count) if within is None else within
        masks = np.zeros((self.frame_count, *self.size), bool)
        masks[number] = corrected > 0
        change = None if structure is None else corrected - self.automatic(number, structure)
        for way in (range(number + 1, within.stop), range(number - 1, within.start - 1, -1)):
            self._follow(way, corrected, change, structure, masks)
        return masks

    def _follow(
        self, way: Iterable[int], logits: Logits, change: Logits | None, structure: Structure | None, masks: ClipMasks
    ) -> None:
        """Fill in the masks of consecutive frames, the first of them beside the frame of ``logits``."""
        for number in way:
            followed = self._answer_to_neighbour(number, logits, structure)
            if structure is None or change is None:
                logits = followed
            else:
                carried = self.automatic(number, structure) + change
                logits = NEIGHBOUR_SHARE * followed + (1 - NEIGHBOUR_SHARE) * carried
            masks[number] = logits > 0

    def _answer_to_neighbour(self, number: int, neighbour: Logits, structure: Structure | None) -> Logits:
        """What the decoder makes of the mask of the frame beside this one."""
        inside = neighbour > 0
        if not inside.any():
            return neighbour if structure is None else self.automatic(number, structure)
        prompt = Prompt(self.size, positive_xy=(centre_point(inside),), structure=structure)
        return self.segmenter.decode(self.frame(number), prompt, neighbour)


def segment_clip(
    path: Path | str,
    frame: int,
    clicks: Sequence[Click] = (),
    structure: Structure | None = None,
    *,
    models: InteractiveSegmenter | str = "default",
) -> ClipMasks:
    """Segment a structure on one frame by clicks, and carry it through the clip.

    Args:
        path: a clip of any format that is read.
        frame: the frame that was clicked on.
        clicks: in the order in which they were made, native pixels.
        structure: what is meant; without it the clicks alone say so.
        models: the model, or the name or folder of a set of weights.

    Returns:
        Masks of all frames in native pixels.

    Raises:
        InteractiveError: there is neither a click nor a name, or no such frame.
        ReadError: the clip cannot be read, or there are several.
        ValueError: a click is outside the frame.
    """
    segmenter = InteractiveSegmenter.load(models) if isinstance(models, str) else models
    clip = InteractiveClip.open(segmenter, open_only_clip(path))
    return clip.propagate(frame, clip.correct(frame, clicks, structure), structure)


def _prompt(size: tuple[int, int], clicks: Sequence[Click], structure: Structure | None) -> Prompt:
    return Prompt(
        size,
        positive_xy=tuple((click.x, click.y) for click in clicks if click.positive),
        negative_xy=tuple((click.x, click.y) for click in clicks if not click.positive),
        structure=structure,
    )
