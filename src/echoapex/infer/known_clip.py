"""What is known of a clip beside its file: a person or a data set has told its view, its calibration, or both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from echoapex.domain import ClipHeader, Spacing
from echoapex.io.clip_source import ClipSource
from echoapex.vocabulary import View

TOLD_CALIBRATION = "told beside the file"


@dataclass(frozen=True)
class KnownClip:
    """What an analysis is told of one clip.

    Attributes:
        view: the view, which is then not looked for.
        spacing: pixel size; a calibration in the file itself goes first.
        outlined_frames: native frames that are outlined beside those that the analysis chooses.
    """

    view: View | None = None
    spacing: Spacing | None = None
    outlined_frames: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class CalibratedSource:
    """A clip without calibration, with the pixel size that it was told."""

    source: ClipSource
    spacing: Spacing

    @property
    def header(self) -> ClipHeader:
        """The header with the spacing, and where that comes from."""
        header = self.source.header
        source = {**header.source, "calibration": TOLD_CALIBRATION}
        return replace(header, spacing=self.spacing, spacing_reason="", source=source)

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """Decode one frame at a time, from the first.

        Raises:
            ReadError: a frame cannot be decoded.
        """
        yield from self.source.frames()


def tell_calibration(source: ClipSource, known: KnownClip) -> ClipSource:
    """The clip with the told spacing where its file has none."""
    if known.spacing is None or source.header.spacing is not None:
        return source
    return CalibratedSource(source, known.spacing)
