"""What every reader provides: the header at once and the frames one at a time, or one error that says what to do."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from echoapex.domain import Clip, ClipHeader

_MEBIBYTE = 1024 * 1024
_NOT_OF_THE_FILE = (KeyboardInterrupt, SystemExit, GeneratorExit)


class ReadError(ValueError):
    """A file that cannot be read.

    The message gives the file's display name, what is wrong and what to do. It never contains a value from the header
    or a folder of the path, because both may name a patient.

    Attributes:
        path: the display name of the file.
        reason: what is wrong.
        remedy: what a person can do.
    """

    def __init__(self, path: str, reason: str, remedy: str) -> None:
        self.path = path
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{path}: {reason}; {remedy}")

    def __reduce__(self) -> tuple[type[ReadError], tuple[str, str, str]]:
        """Rebuild from the three parts, so that the error can be passed between processes."""
        return (type(self), (self.path, self.reason, self.remedy))


class ReadFlag(StrEnum):
    """A decision that a reader made; written to ``ClipHeader.flags``."""

    TRUNCATED = "truncated"
    """The file ends early; the clip has the frames up to that point."""
    FRAME_COUNT_DISAGREES = "frame_count_disagrees"
    """The header and the stream disagree about the number of frames; the stream was believed."""
    RESCALED_TO_8_BIT = "rescaled_to_8_bit"
    """Samples that are not 8-bit were mapped to 0..255."""
    CORRECTED_SPACING = "corrected_spacing"
    """The image is a scaled-down copy; the spacing of the original was multiplied by the reduction."""
    NEGATIVE_DELTA = "negative_delta"
    """A physical delta was negative; its absolute value was used."""
    SEVERAL_2D_REGIONS = "several_2d_regions"
    """The image shows more than one 2D region side by side."""
    FRAME_TIMES_IMPLAUSIBLE = "frame_times_implausible"
    """A frame time in the header is impossible and was ignored."""
    ECG_DAMAGED = "ecg_damaged"
    """The ECG is cut short, impossible, or stored in a way that cannot be read; it was left out."""
    ECG_TIME_UNKNOWN = "ecg_time_unknown"
    """The file does not say when the samples of its ECG were taken, so it cannot be aligned; it was left out."""
    ECG_NOT_SYNCHRONISED = "ecg_not_synchronised"
    """An ECG object belongs to the clip, but their times have no common clock; it was left out."""
    ECG_OF_ANOTHER_TIME = "ecg_of_another_time"
    """The ECG covers less than half of the clip, or a much longer time; it was left out."""
    WRONG_EXTENSION = "wrong_extension"
    """The file name suggests another format; the file was read by its content."""


@dataclass(frozen=True)
class ReadLimits:
    """Limits that are checked before memory is allocated, so that no file can exhaust the machine.

    Attributes:
        max_frame_pixels: rows times columns of one frame.
        max_frames: frames of one clip.
        max_header_bytes: bytes of the header.
        max_inflated_bytes: size to which a deflated DICOM file may inflate (on disk, not in memory).
        max_archive_bytes: expanded size of all members of an archive together.
        max_archive_ratio: expanded size divided by packed size of one archive member.
    """

    max_frame_pixels: int = 16_777_216
    max_frames: int = 100_000
    max_header_bytes: int = 64 * _MEBIBYTE
    max_inflated_bytes: int = 4096 * _MEBIBYTE
    max_archive_bytes: int = 20_480 * _MEBIBYTE
    max_archive_ratio: float = 200.0

    def check_frames(self, size: tuple[int, int], frame_count: int, display_name: str) -> None:
        """Refuse a clip that claims an impossible size.

        Args:
            size: (height, width) in pixels.
            frame_count: number of frames according to the header.
            display_name: name of the file in the error message.

        Raises:
            ReadError: no rows, columns or frames, or more than the limits allow.
        """
        height, width = size
        if height < 1 or width < 1:
            raise ReadError(display_name, f"claims frames of {width} x {height} pixels", "export the image again")
        if height * width > self.max_frame_pixels:
            raise ReadError(
                display_name,
                f"claims {width} x {height} pixels a frame, more than the limit of {self.max_frame_pixels}",
                "check that the file is whole, or raise the limit max_frame_pixels",
            )
        if frame_count < 1:
            raise ReadError(display_name, "holds no frame", "export the clip again")
        if frame_count > self.max_frames:
            raise ReadError(
                display_name,
                f"claims {frame_count} frames, more than the limit of {self.max_frames}",
                "check that the file is whole, or raise the limit max_frames",
            )


@runtime_checkable
class ClipSource(Protocol):
    """A clip on disk: its header is known, its frames are decoded on request."""

    @property
    def header(self) -> ClipHeader:
        """Everything that is known without decoding all frames."""
        ...

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """Decode the frames one at a time; a second call starts again at the first frame.

        Yields:
            ``header.frame_count`` frames, grey ``(height, width)`` or RGB ``(height, width, 3)``.

        Raises:
            ReadError: a frame cannot be decoded.
        """
        ...


def load_clip(source: ClipSource) -> Clip:
    """Decode every frame of ``source`` into memory.

    Raises:
        ReadError: a frame cannot be decoded.
    """
    return Clip(source.header, np.stack(list(source.frames())))


@dataclass(frozen=True, eq=False)
class ClipInMemory:
    """A clip that is already in memory, as a source of frames."""

    clip: Clip

    @property
    def header(self) -> ClipHeader:
        """Header of the clip."""
        return self.clip.header

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """The frames, from the first."""
        yield from self.clip.frames


@contextmanager
def clean_errors(display_name: str, while_doing: str) -> Iterator[None]:
    """Turn any error inside the block into one ``ReadError`` without values, paths or a chained traceback.

    Args:
        display_name: name of the file in the error message.
        while_doing: what failed, as in "its header cannot be parsed".

    Raises:
        ReadError: anything was raised inside the block; a ``ReadError`` passes unchanged.
    """
    try:
        with muted_pydicom():
            yield
    except (ReadError, *_NOT_OF_THE_FILE):
        raise
    except BaseException as error:  # panics of Rust decoders are not an Exception
        raise ReadError(display_name, _reason(error, while_doing), "check that the file is whole") from None


@contextmanager
def muted_pydicom() -> Iterator[None]:
    """Silence the warnings and log messages of pydicom, because they quote values of the file."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException, while_doing: str) -> str:
    """Describe the error without its text, which may contain a path or a value."""
    if isinstance(error, MemoryError):
        return f"{while_doing} (it needs more memory than there is)"
    if isinstance(error, OSError) and error.errno:
        return f"{while_doing} ({os.strerror(error.errno)})"
    return while_doing
