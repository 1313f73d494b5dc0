"""One small sound file of every kind that is read: what the fuzzer damages."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import nibabel
import numpy as np
from drawn_ecgs import add_curve, draw_ecg, waveform_group
from hostile_files import Case, saved
from PIL import Image
from pydicom import uid
from synthetic_dicom import (
    build_dataset,
    encode_video,
    halve_chroma,
    jpeg,
    moving_frames,
    pydicom_encoder,
    region,
    save,
    to_ybr,
    write_compressed,
    write_native,
    write_video,
)
from synthetic_files import write_dicomdir, write_meta_image, write_zip

_FRAMES = moving_frames(4)
_GREY = moving_frames(4, colours=1)


def sound_cases() -> dict[str, Case]:
    """Every sound case by its name."""
    return {name: build() for name, build in _CASES.items()}


def _native(photometric: str, frames: np.ndarray, syntax: str = uid.ExplicitVRLittleEndian, planar: int = 0) -> Case:
    about = {"SequenceOfUltrasoundRegions": [region((0, 0, 60, 40))], "RWaveTimeVector": [12.0, 800.0]}
    return {"a.dcm": saved(lambda path: write_native(path, frames, photometric, syntax, planar, **about))}


def _traced() -> Case:
    drawn = draw_ecg(150, 100, 0.12)
    dataset = build_dataset(_GREY, "MONOCHROME2")
    add_curve(dataset, np.rint(2000 + 1000 * drawn.samples).astype("<u2"), units=["DPPS", "NONE"], step=b"\x64\0")
    dataset.WaveformSequence = [waveform_group(drawn.samples, 100)]
    dataset.PixelData = _GREY.tobytes()
    dataset["PixelData"].VR = "OB"
    return {"a.dcm": saved(lambda path: save(path, dataset))}


def _compressed(photometric: str, frames: np.ndarray, syntax: str, encode: Callable[[np.ndarray], bytes]) -> Case:
    pictures = [encode(frame) for frame in frames]
    return {"a.dcm": saved(lambda path: write_compressed(path, frames, photometric, syntax, pictures))}


def _palette() -> Case:
    dataset = build_dataset(_GREY, "PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = np.arange(256, dtype="<u2") * 257
        setattr(dataset, f"{colour}PaletteColorLookupTableData", table.tobytes())
    dataset.PixelData = _GREY.tobytes()
    return {"a.dcm": saved(lambda path: save(path, dataset))}


def _dicom_video(codec: str, container: str, syntax: str) -> Case:
    frames = moving_frames(6, 64, 64)
    stream = encode_video(frames, codec, container)
    return {"a.dcm": saved(lambda path: write_video(path, frames, syntax, stream))}


def _video(name: str, codec: str, pixels: str, container: str) -> Case:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        track = output.add_stream(codec, rate=25)
        track.height, track.width, track.pix_fmt = 48, 64, pixels
        for frame in moving_frames(6):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            output.mux(track.encode(picture.reformat(format=pixels)))
        output.mux(track.encode())
    return {name: buffer.getvalue()}


def _still(name: str, kind: str, mode: str = "RGB", **options: object) -> Case:
    image = Image.fromarray(_FRAMES[0]).convert(mode) if mode != "I;16" else Image.fromarray(_GREY[0].astype("u2") * 99)
    return {name: saved(lambda path: image.save(path, kind, **options))}


def _series() -> Case:
    return {f"{number:03d}.png": _still("a.png", "PNG", "L")["a.png"] for number in range(3)}


def _nifti(name: str, kind: type = nibabel.Nifti1Image, dtype: str = "u1") -> Case:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        nibabel.save(kind(np.moveaxis(_GREY, 0, 2).astype(dtype), np.diag([0.3, 0.4, 1, 1])), path)
        return {name: path.read_bytes()}


def _meta_image(name: str, **keys: object) -> Case:
    with tempfile.TemporaryDirectory() as folder:
        write_meta_image(Path(folder) / name, np.moveaxis(_GREY, 0, 2), **keys)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _zip() -> Case:
    inner = {**_native("MONOCHROME2", _GREY[:1]), **_still("b.png", "PNG")}
    packed = saved(lambda path: write_zip(path, {"x/" + name: content for name, content in inner.items()}))
    return {"a.zip": saved(lambda path: write_zip(path, {"deep.zip": packed, **inner}))}


def _medium() -> Case:
    with tempfile.TemporaryDirectory() as folder:
        directory = write_dicomdir(Path(folder), "IM1", ["SUB", "IM2"]).read_bytes()
    return {"DICOMDIR": directory, "IM1": _native("MONOCHROME2", _GREY[:1])["a.dcm"]}


_CASES: dict[str, Callable[[], Case]] = {
    "native grey": lambda: _native("MONOCHROME2", _GREY),
    "native RGB by planes": lambda: _native("RGB", _FRAMES, planar=1),
    "native YBR 422": lambda: _native("YBR_FULL_422", halve_chroma(to_ybr(_FRAMES)).reshape(4, 48, 32, 4)[..., :3]),
    "native implicit, inverted": lambda: _native("MONOCHROME1", _GREY, uid.ImplicitVRLittleEndian),
    "native big endian, 16 bit": lambda: _native("MONOCHROME2", _GREY.astype("u2") * 99, uid.ExplicitVRBigEndian),
    "native deflated": lambda: _native("RGB", _FRAMES, uid.DeflatedExplicitVRLittleEndian),
    "curve and waveform": _traced,
    "palette": _palette,
    "JPEG baseline": lambda: _compressed("YBR_FULL_422", _FRAMES, uid.JPEGBaseline8Bit, jpeg),
    "RLE": lambda: _compressed("RGB", _FRAMES, uid.RLELossless, pydicom_encoder(uid.RLELossless, "RGB", "pydicom")),
    "JPEG-LS": lambda: _compressed(
        "RGB", _FRAMES, uid.JPEGLSLossless, pydicom_encoder(uid.JPEGLSLossless, "RGB", "pyjpegls")
    ),
    "JPEG 2000": lambda: _compressed(
        "YBR_RCT", _FRAMES, uid.JPEG2000Lossless, pydicom_encoder(uid.JPEG2000Lossless, "YBR_RCT", "pylibjpeg")
    ),
    "DICOM MPEG-4": lambda: _dicom_video("libx264", "mp4", uid.MPEG4HP41),
    "DICOM MPEG-2": lambda: _dicom_video("mpeg2video", "mpeg", uid.MPEG2MPML),
    "AVI, MPEG-4": lambda: _video("a.avi", "mpeg4", "yuv420p", "avi"),
    "AVI, MJPEG": lambda: _video("a.avi", "mjpeg", "yuvj420p", "avi"),
    "AVI, FFV1": lambda: _video("a.avi", "ffv1", "gray", "avi"),
    "MP4, H.264": lambda: _video("a.mp4", "libx264", "yuv420p", "mp4"),
    "MOV, MJPEG": lambda: _video("a.mov", "mjpeg", "yuvj420p", "mov"),
    "Matroska": lambda: _video("a.mkv", "mpeg4", "yuv420p", "matroska"),
    "GIF": lambda: _video("a.gif", "gif", "rgb8", "gif"),
    "PNG": lambda: _still("a.png", "PNG"),
    "PNG, palette": lambda: _still("a.png", "PNG", "P"),
    "PNG, 16 bit": lambda: _still("a.png", "PNG", "I;16"),
    "JPEG": lambda: _still("a.jpg", "JPEG"),
    "JPEG, progressive CMYK": lambda: _still("a.jpeg", "JPEG", "CMYK", progressive=True),
    "image series": _series,
    "NIfTI": lambda: _nifti("a.nii", dtype="f4"),
    "NIfTI-2": lambda: _nifti("a.nii", nibabel.Nifti2Image),
    "NIfTI, gzipped": lambda: _nifti("a.nii.gz", dtype="i2"),
    "MHD": lambda: _meta_image("a.mhd"),
    "MHA": lambda: _meta_image("a.mha", ElementDataFile="LOCAL"),
    "zip": _zip,
    "DICOMDIR": _medium,
}
