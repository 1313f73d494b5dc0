"""Small synthetic DICOM clips in any transfer syntax and photometric interpretation, for the tests of the readers."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import gdcm
import numpy as np
import simplejpeg
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.pixels.processing import convert_color_space

PATIENT = "Quartz^Aurelia"
PATIENT_ID = "PID-77123"
STUDY_DATE = "20190314"
ULTRASOUND_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"


def moving_frames(count: int = 3, height: int = 48, width: int = 64, colours: int = 3) -> np.ndarray:
    """Smooth frames that differ from each other: uint8 (count, height, width[, 3])."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    frames = []
    for index in range(count):
        planes = [
            127 + 100 * np.sin((x * (1 + plane / 3) + 6 * index) / 9) * np.cos((y + 5 * plane) / 8)
            for plane in range(colours)
        ]
        frames.append(np.stack(planes, axis=-1))
    clip = np.clip(np.rint(np.stack(frames)), 0, 255).astype(np.uint8)
    return clip[..., 0] if colours == 1 else clip


def region(corners: Sequence[int], delta: float | tuple[float, float] = 0.05, **elements: Any) -> Dataset:
    """One 2D tissue region in cm; ``elements`` replace what is set here."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 2
    item.RegionLocationMinX0, item.RegionLocationMinY0 = corners[0], corners[1]
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = corners[2], corners[3]
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta if isinstance(delta, tuple) else (delta, delta)
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def build_dataset(frames: np.ndarray, photometric: str, **elements: Any) -> Dataset:
    """A whole ultrasound instance without pixels; ``frames`` gives the sizes."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = ULTRASOUND_MULTIFRAME, uid.generate_uid(entropy_srcs=["instance"])
    dataset.StudyInstanceUID = uid.generate_uid(entropy_srcs=["study"])
    dataset.SeriesInstanceUID = uid.generate_uid(entropy_srcs=["series"])
    dataset.PatientName, dataset.PatientID, dataset.StudyDate = PATIENT, PATIENT_ID, STUDY_DATE
    dataset.Modality = "US"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape[:3]
    dataset.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    dataset.PhotometricInterpretation = photometric
    if frames.ndim == 4:
        dataset.PlanarConfiguration = 0
    bits = frames.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.FrameTime = "40"
    for keyword, value in elements.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def save(path: Path, dataset: Dataset, transfer_syntax: str = uid.ExplicitVRLittleEndian) -> Path:
    """Write a data set as a DICOM file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(transfer_syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_native(
    path: Path,
    frames: np.ndarray,
    photometric: str,
    transfer_syntax: str = uid.ExplicitVRLittleEndian,
    planar: int = 0,
    **elements: Any,
) -> Path:
    """Write uncompressed frames as they are; ``planar`` 1 stores one plane per colour."""
    dataset = build_dataset(frames, photometric, **elements)
    stored = np.moveaxis(frames, -1, 1) if planar else frames
    if planar:
        dataset.PlanarConfiguration = 1
    big = transfer_syntax == uid.ExplicitVRBigEndian
    data = stored.astype(stored.dtype.newbyteorder(">" if big else "<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if frames.dtype.itemsize == 2 else "OB"
    return save(path, dataset, transfer_syntax)


def write_compressed(
    path: Path, frames: np.ndarray, photometric: str, transfer_syntax: str, pictures: Sequence[bytes], **elements: Any
) -> Path:
    """Write one compressed picture a frame."""
    dataset = build_dataset(frames, photometric, **elements)
    dataset.PixelData = encapsulate(list(pictures))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return save(path, dataset, transfer_syntax)


def to_ybr(frames: np.ndarray) -> np.ndarray:
    """RGB frames as YBR_FULL."""
    return np.stack([convert_color_space(frame, "RGB", "YBR_FULL") for frame in frames])


def halve_chroma(ybr: np.ndarray) -> np.ndarray:
    """YBR_FULL frames as stored YBR_FULL_422: Y1 Y2 Cb Cr for every two pixels."""
    shared = ybr[:, :, 0::2, 1:]
    return np.stack([ybr[:, :, 0::2, 0], ybr[:, :, 1::2, 0], shared[..., 0], shared[..., 1]], axis=-1)


def jpeg(frame: np.ndarray, subsampling: str = "444", quality: int = 95) -> bytes:
    """JPEG baseline."""
    if frame.ndim == 2:
        return simplejpeg.encode_jpeg(np.ascontiguousarray(frame[..., None]), quality=quality, colorspace="GRAY")
    return simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality=quality, colorsubsampling=subsampling)


def pydicom_encoder(
    transfer_syntax: str, photometric: str, plugin: str, **options: Any
) -> Callable[[np.ndarray], bytes]:
    """An encoder of one frame that ships with pydicom or its plugins."""

    def encode(frame: np.ndarray) -> bytes:
        return get_encoder(transfer_syntax).encode(
            frame,
            encoding_plugin=plugin,
            rows=frame.shape[0],
            columns=frame.shape[1],
            number_of_frames=1,
            samples_per_pixel=1 if frame.ndim == 2 else 3,
            photometric_interpretation=photometric,
            planar_configuration=0,
            bits_allocated=frame.dtype.itemsize * 8,
            bits_stored=frame.dtype.itemsize * 8,
            pixel_representation=0,
            **options,
        )

    return encode


def recompress_by_gdcm(source: Path, target: Path, kind: int) -> Path:
    """Transcode a native file by GDCM, for syntaxes that nothing else encodes (JPEG lossless)."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(kind))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target


def encode_video(frames: np.ndarray, codec: str, container: str) -> bytes:
    """RGB frames as a video stream with an I-frame first."""
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format=container) as output:
        track = output.add_stream(codec, rate=25)
        track.height, track.width = frames.shape[1:3]
        track.pix_fmt = "yuv420p"
        track.bit_rate = 4_000_000
        for frame in frames:
            for packet in track.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")):
                output.mux(packet)
        for packet in track.encode():
            output.mux(packet)
    return buffer.getvalue()


def write_video(path: Path, frames: np.ndarray, transfer_syntax: str, stream: bytes, **elements: Any) -> Path:
    """Write a video stream as the single fragment of a DICOM instance."""
    return write_compressed(path, frames, "YBR_PARTIAL_420", transfer_syntax, [stream], **elements)
