"""One clip to the frames that a store keeps of it: blank outside the sector, cropped, resized, without repetitions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from echoapex.data.ingest.near_duplicates import difference_hash, mark_new
from echoapex.data.ingest.rules import IngestRules
from echoapex.data.preprocess import prepare_frames
from echoapex.domain import ClipHeader, ContentKind, FrameTransform
from echoapex.io.clip_file import ClipFile, OpenedClip, open_clip

_STORED_CONTENT = (ContentKind.B_MODE, ContentKind.COLOUR_DOPPLER)
NO_SECTOR = "no ultrasound sector was found, so that text around it could not be blanked"


@dataclass(frozen=True, eq=False)
class ClipFrames:
    """The frames of one clip.

    Attributes:
        header: of the clip, with all its frames; ``header.source`` holds keyed digests only.
        pixels: the kept frames, uint8 ``(kept, size, size)``.
        hashes: their difference hashes, ``(kept, 32)``.
        frame_indices: their numbers in the clip.
        sampled: frames that were looked at.
        transform: native to stored pixels.
        set_aside: why nothing is kept; empty otherwise.
    """

    header: ClipHeader
    pixels: UInt8[np.ndarray, "kept size size"]
    hashes: UInt8[np.ndarray, "kept 32"]
    frame_indices: tuple[int, ...]
    sampled: int
    transform: FrameTransform | None
    set_aside: str = ""


def read_clip_frames(clip: ClipFile, rules: IngestRules, key: bytes) -> ClipFrames:
    """Decode a clip and keep what the rules say.

    Args:
        clip: the clip.
        rules: size, sampling and what a near-duplicate is.
        key: key of the digests in the header.

    Raises:
        ReadError: the clip is damaged.
    """
    with closing(open_clip(clip, pseudonym_key=key)) as opened:
        header = opened.header
        if header.content not in _STORED_CONTENT:
            return _set_aside(header, header.content_reason, rules)
        prepared = prepare_frames(_Thinned(opened, rules.stride_of(header.frame_count)), rules.size)
    if prepared.sector is None:
        return _set_aside(header, NO_SECTOR, rules)
    hashes = np.stack([difference_hash(frame) for frame in prepared.pixels])
    is_new = mark_new(hashes, rules.near_duplicate_bits)
    stride = rules.stride_of(header.frame_count)
    return ClipFrames(
        header=header,
        pixels=prepared.pixels[is_new],
        hashes=hashes[is_new],
        frame_indices=tuple(int(row) * stride for row in np.flatnonzero(is_new)),
        sampled=len(prepared.pixels),
        transform=prepared.transform,
    )


class _Thinned:
    """A clip of which only every so many frames are decoded."""

    def __init__(self, opened: OpenedClip, stride: int) -> None:
        self._opened = opened
        self._stride = stride
        self.header = replace(opened.header, frame_times_s=opened.header.frame_times_s[::stride])

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """The frames that remain."""
        return self._opened.frames_every(self._stride)


def _set_aside(header: ClipHeader, reason: str, rules: IngestRules) -> ClipFrames:
    pixels = np.zeros((0, rules.size, rules.size), np.uint8)
    return ClipFrames(header, pixels, np.zeros((0, 32), np.uint8), (), 0, None, reason or "shows no 2D echo")
