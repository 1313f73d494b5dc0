"""Clips from NIfTI (.nii, .nii.gz) and MetaImage files, the formats of CAMUS and other public data sets.

Both formats store x first, so arrays are transposed to (row, column). The third axis counts frames. A real third
spatial dimension (a 3D acquisition) is refused, because a stack of slices is not a clip. Spacing is used only if its
unit is known.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel.nifti1
import nibabel.nifti2
import numpy as np
from jaxtyping import Num, UInt8
from nibabel import imageglobals

from echoapex.domain import ClipHeader, Spacing
from echoapex.io.calibration import NOMINAL_RATE_HZ
from echoapex.io.clip_source import ReadError, ReadFlag, ReadLimits, clean_errors
from echoapex.io.content import content_of_pixels
from echoapex.io.file_format import CLIP_ID_DIGITS, HEAD_BYTES, FileFormat, file_digest, recognise
from echoapex.io.meta_image import (
    MOST_INFLATED_BYTES,
    TOO_LARGE_TO_INFLATE,
    read_meta_image_header,
    read_meta_image_samples,
)

MOST_SAMPLES = 2**28
"""Largest number of samples (268 million): volumes are read as a whole, larger ones are refused."""

_NIFTI_2_HEADER_BYTES = 540
_MOST_EXTENSION_BYTES = 64 << 20
_SAMPLE = 8

_MM_PER_UNIT = {"mm": 1.0, "meter": 1000.0, "micron": 0.001}
_SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True, eq=False)
class Volume:
    """The samples of a volume file, as frames.

    Attributes:
        frames: ``(frames, rows, columns)`` with the file's own values (label maps keep their labels).
        spacing: pixel size; None if the file gives no credible value, and then ``spacing_reason`` says why.
        frame_step_s: time between frames; None if unknown.
        data_path: the file with the samples, if it is not the file itself (MHD).
    """

    frames: Num[np.ndarray, "frames height width"]
    spacing: Spacing | None
    spacing_reason: str
    frame_step_s: float | None = None
    data_path: Path | None = None


@dataclass(frozen=True, eq=False)
class VolumeSource:
    """A clip from a volume file, kept in memory as 8-bit frames."""

    header: ClipHeader
    pixels: UInt8[np.ndarray, "frames height width"]

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width"]]:
        """The frames, from the first."""
        return iter(self.pixels)


def read_volume(path: Path, *, display_name: str | None = None, limits: ReadLimits | None = None) -> Volume:
    """Read a NIfTI or MetaImage file with a 2D image or a series of 2D images.

    Raises:
        ReadError: the file has another format, is damaged, is a 3D volume over time, or exceeds the limits.
    """
    name, limits = display_name or path.name, limits or ReadLimits()
    with clean_errors(name, "cannot be read"), path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if not head:
        raise ReadError(name, "is empty", "copy or export the file again")
    kind = recognise(head)
    if kind in (FileFormat.NIFTI, FileFormat.NIFTI_GZ):
        return _read_nifti(path, name, limits, is_gzip=kind is FileFormat.NIFTI_GZ)
    if kind is FileFormat.META_IMAGE:
        return _read_meta_image(path, name, limits)
    raise ReadError(name, "is neither a NIfTI nor a MetaImage file", "give a .nii, .nii.gz, .mhd or .mha file")


def open_volume(path: Path, *, display_name: str | None = None, limits: ReadLimits | None = None) -> VolumeSource:
    """Open a volume file as a clip; samples that are not 8-bit integers are scaled linearly to 0..255, with a flag.

    Raises:
        ReadError: as ``read_volume``.
    """
    name = display_name or path.name
    volume = read_volume(path, display_name=name, limits=limits)
    digest = _digest(path, volume, name)
    pixels, is_rescaled = _to_8_bit(volume.frames)
    step_s = volume.frame_step_s or 1 / NOMINAL_RATE_HZ
    content = content_of_pixels(list(pixels[:: max(1, len(pixels) // _SAMPLE)][:_SAMPLE]))
    header = ClipHeader(
        clip_id=digest[:CLIP_ID_DIGITS],
        size=(pixels.shape[1], pixels.shape[2]),
        frame_times_s=tuple(index * step_s for index in range(len(pixels))),
        frame_times_known=volume.frame_step_s is not None or len(pixels) == 1,
        spacing=volume.spacing,
        spacing_reason=volume.spacing_reason,
        flags=(ReadFlag.RESCALED_TO_8_BIT,) if is_rescaled else (),
        source={"format": "volume", "sha256": digest},
        content=content.kind,
        content_reason=content.reason,
        sector=content.sector,
    )
    return VolumeSource(header, pixels)


def _read_nifti(path: Path, name: str, limits: ReadLimits, is_gzip: bool) -> Volume:
    with clean_errors(name, "is a damaged NIfTI file"), path.open("rb") as raw:
        # by default nibabel relies on the file name, which can be wrong
        stream: Any = gzip.GzipFile(fileobj=raw, mode="rb") if is_gzip else raw
        head = stream.read(_NIFTI_2_HEADER_BYTES)
        kind: Any = nibabel.nifti2.Nifti2Header if head[4:7] in (b"n+2", b"ni2") else nibabel.nifti1.Nifti1Header
        # only the header: nibabel would also read its extensions, which are not needed and can expand without limit
        with imageglobals.LoggingOutputSuppressor():
            header: Any = kind.from_fileobj(io.BytesIO(head), check=True)
        if bytes(header["magic"])[:2] != b"n+":
            raise ReadError(name, "is a NIfTI header without its samples", "export it as one .nii file")
        shape = tuple(int(extent) for extent in header.get_data_shape())
        _check_size(_frame_shape(shape, name), limits, name)
        samples = _nifti_samples(stream, header, shape, is_gzip, name)
        zooms = tuple(float(zoom) for zoom in header.get_zooms())
        space_unit, time_unit = header.get_xyzt_units()
    spacing, reason = _spacing(zooms[:2], _MM_PER_UNIT.get(str(space_unit)))
    step_s = zooms[3] * _SECONDS_PER_UNIT[str(time_unit)] if len(zooms) > 3 and time_unit in _SECONDS_PER_UNIT else 0.0
    return Volume(_to_frames(samples, name), spacing, reason, step_s if 5e-4 <= step_s <= 2.0 else None)


def _nifti_samples(stream: Any, header: Any, shape: tuple[int, ...], is_gzip: bool, name: str) -> np.ndarray:
    """Read the samples with slope and intercept applied; unscaled samples keep their type.

    Raises:
        ReadError: the file is shorter than its header says, or would expand to more than the memory limit.
    """
    dtype = np.dtype(header.get_data_dtype())
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    start = int(header.get_data_offset())
    if not 0 <= start <= _MOST_EXTENSION_BYTES:
        raise ReadError(name, "its header gives an impossible position of the samples", "export it again")
    if is_gzip and expected > MOST_INFLATED_BYTES:
        raise ReadError(name, TOO_LARGE_TO_INFLATE, "export it uncompressed")
    if not is_gzip and stream.seek(0, io.SEEK_END) - start < expected:
        raise ReadError(name, "holds fewer samples than its header says", "copy or export the file again")
    stream.seek(start)
    data = bytearray(expected)
    held = memoryview(data)
    while held and (count := stream.readinto(held)):
        held = held[count:]
    if len(held):
        raise ReadError(name, "holds fewer samples than its header says", "copy or export the file again")
    samples = np.frombuffer(data, dtype).reshape(shape, order="F")
    slope, intercept = header.get_slope_inter()
    if (slope, intercept) in ((None, None), (1.0, 0.0)):
        return samples
    scaled = samples.astype(np.float32)
    scaled *= np.float32(slope)
    scaled += np.float32(intercept or 0.0)
    return scaled


def _read_meta_image(path: Path, name: str, limits: ReadLimits) -> Volume:
    header = read_meta_image_header(path, name)
    _check_size(_frame_shape(header.shape, name), limits, name)
    spacing, reason = _spacing(header.spacing_mm[:2], 1.0)
    data_path = None if header.data_path == path else header.data_path
    return Volume(_to_frames(read_meta_image_samples(header, name), name), spacing, reason, data_path=data_path)


def _digest(path: Path, volume: Volume, name: str) -> str:
    """Digest of the file; it includes the data file if the samples are stored separately."""
    own = file_digest(path, name)
    if volume.data_path is None:
        return own
    return hashlib.sha256((own + file_digest(volume.data_path, name)).encode()).hexdigest()


def _frame_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """(frames, height, width) of samples that are stored x first.

    Raises:
        ReadError: the samples are not an image, or are a 3D volume over time.
    """
    extents = [*shape]
    while len(extents) > 2 and extents[-1] == 1:
        extents.pop()
    if len(extents) == 4 and extents[2] == 1:
        extents.pop(2)
    if len(extents) > 3:
        raise ReadError(name, "is a 3D volume over time, not a 2D clip", "export the 2D views as clips of their own")
    if len(extents) < 2:
        raise ReadError(name, "holds no image", "give a 2D image or clip")
    return (extents[2] if len(extents) == 3 else 1, extents[1], extents[0])


def _check_size(frame_shape: tuple[int, int, int], limits: ReadLimits, name: str) -> None:
    frames, height, width = frame_shape
    limits.check_frames((height, width), frames, name)
    if frames * height * width > MOST_SAMPLES:
        raise ReadError(
            name, f"claims more than {MOST_SAMPLES} samples", "check that the file is whole, or split the clip"
        )


def _to_frames(samples: np.ndarray, name: str) -> Num[np.ndarray, "frames height width"]:
    frames, height, width = _frame_shape(samples.shape, name)
    if samples.dtype.kind not in "uif":
        raise ReadError(name, "holds samples that are no plain numbers", "export it as a grey image")
    return np.ascontiguousarray(samples.reshape((width, height, frames)).transpose(2, 1, 0))


def _spacing(zooms: tuple[float, ...], mm_per_unit: float | None) -> tuple[Spacing | None, str]:
    """Spacing from the sample distances along x and y; None with the reason if they are not credible."""
    if len(zooms) < 2:
        return None, "the header gives no spacing"
    if mm_per_unit is None:
        return None, "the header does not say the unit of its spacing"
    column_mm, row_mm = (abs(zoom) * mm_per_unit for zoom in zooms)
    if zooms[0] == zooms[1] == 1.0:
        return None, "the header says exactly 1 mm, which tools write when they know no spacing"
    if not (np.isfinite([row_mm, column_mm]).all() and min(row_mm, column_mm) > 0.005 and max(row_mm, column_mm) < 10):
        return None, "the header gives a spacing that no echo image has"
    return Spacing(row_mm=row_mm, column_mm=column_mm), ""


def _to_8_bit(frames: Num[np.ndarray, "frames height width"]) -> tuple[UInt8[np.ndarray, "frames height width"], bool]:
    """The frames as 8 bit, and whether they were rescaled; samples that are not finite count as 0."""
    if frames.dtype == np.uint8:
        return frames, False
    cleaned = (np.nan_to_num(np.asarray(frame, np.float32), posinf=0.0, neginf=0.0) for frame in frames)
    ends = np.array([(frame.min(), frame.max()) for frame in cleaned])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    is_8_bit = low >= 0 and high <= 255 and (high > 1 or frames.dtype.kind in "iu")
    offset, scale = (0.0, 1.0) if is_8_bit else (low, 255.0 / max(high - low, 1e-30))
    pixels = np.empty(frames.shape, np.uint8)
    for index, frame in enumerate(frames):
        finite = np.nan_to_num(np.asarray(frame, np.float32), posinf=0.0, neginf=0.0)
        pixels[index] = np.clip(np.rint((finite - offset) * scale), 0, 255)
    return pixels, not is_8_bit
