"""A clip: the frames of one instance with times, calibration and provenance, but without patient identifiers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from jaxtyping import UInt8

from echoapex.domain.geometry import Size, Spacing
from echoapex.vocabulary import View


class ContentKind(StrEnum):
    """What an image shows; only B-mode and colour Doppler are analysed as tissue images."""

    B_MODE = "b_mode"
    COLOUR_DOPPLER = "colour_doppler"
    M_MODE = "m_mode"
    SPECTRAL_DOPPLER = "spectral_doppler"
    SPLIT_SCREEN = "split_screen"
    TEXT_SCREEN = "text_screen"
    NOT_ECHO = "not_echo"


@dataclass(frozen=True)
class Sector:
    """The fan (or rectangle) of ultrasound data inside the image.

    ``box_xyxy`` is (x0, y0, x1, y1) in pixel edges, so its width is x1 - x0. ``polygon_xy`` is the outline of the
    imaged area in pixel centres, point by point; it is empty if only the box is known.
    """

    box_xyxy: tuple[float, float, float, float]
    polygon_xy: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box_xyxy
        if not (x1 > x0 and y1 > y0):
            raise ValueError(f"an empty sector: {self.box_xyxy}")


@dataclass(frozen=True)
class ClipHeader:
    """Everything that is known about a clip without its pixels.

    ``clip_id`` is a digest or a file stem without identifiers. ``spacing`` is None if the clip is not calibrated; then
    ``spacing_reason`` says why. ``frame_times_s`` increase from 0; ``frame_times_known`` is False if a nominal rate was
    assumed (then every value that depends on the rate must be flagged). ``colour_box_xyxy`` is the colour Doppler box
    in pixel edges, or None.
    """

    clip_id: str
    size: Size
    frame_times_s: tuple[float, ...]
    frame_times_known: bool = True
    spacing: Spacing | None = None
    spacing_reason: str = ""
    sector: Sector | None = None
    content: ContentKind = ContentKind.B_MODE
    content_reason: str = ""
    colour_box_xyxy: tuple[float, float, float, float] | None = None
    r_wave_times_s: tuple[float, ...] = ()
    heart_rate_bpm: float | None = None
    patient_sex: str | None = None
    patient_height_m: float | None = None
    patient_weight_kg: float | None = None
    view: View | None = None
    manufacturer: str = ""
    flags: tuple[str, ...] = ()
    source: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        times = np.asarray(self.frame_times_s, dtype=float)
        if times.size < 1:
            raise ValueError("a clip has at least one frame")
        if times.size > 1 and not (np.diff(times) > 0).all():
            raise ValueError("frame times must increase")
        if self.spacing is None and not self.spacing_reason:
            raise ValueError("a clip without spacing must say why (spacing_reason)")

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return len(self.frame_times_s)

    def with_flags(self, *flags: str) -> ClipHeader:
        """The same header with more flags."""
        return replace(self, flags=(*self.flags, *(f for f in flags if f not in self.flags)))


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip in memory: header and read-only frames, ``(frames, height, width)`` grey or ``(..., 3)`` RGB."""

    header: ClipHeader
    frames: UInt8[np.ndarray, "frames height width *channels"]

    def __post_init__(self) -> None:
        frames = np.asarray(self.frames)
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or (frames.ndim == 4 and frames.shape[3] != 3):
            raise ValueError(f"frames must be uint8 (frames, height, width[, 3]), got {frames.dtype} {frames.shape}")
        if frames.shape[0] != self.header.frame_count or frames.shape[1:3] != self.header.size:
            raise ValueError(
                f"header says {self.header.frame_count} frames of {self.header.size}, pixels are {frames.shape[:3]}"
            )
        view = frames.view()
        view.setflags(write=False)
        object.__setattr__(self, "frames", view)
