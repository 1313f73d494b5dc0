"""JPEG pictures of DICOM frames: baseline, extended and lossless, decoded by libjpeg-turbo where its colours are right.

Deeper samples than 8 bit, which libjpeg-turbo's binding does not give, are decoded by FFmpeg.
"""

from __future__ import annotations

import av
import numpy as np
import simplejpeg
from jaxtyping import Shaped, UInt8
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

from echoapex.io.dicom_codestream import Picture, without_colour_markers
from echoapex.io.dicom_layout import PixelLayout

_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
_JPEG = (*_LOSSY, JPEGLossless, JPEGLosslessSV1)
_CONVERTIBLE = {"YBR_FULL", "YBR_FULL_422", "MONOCHROME1", "MONOCHROME2"}
_HARMLESS = "extraneous bytes"

Stored = Shaped[np.ndarray, "height width *channels"]


def decode_jpeg(data: bytes, picture: Picture, layout: PixelLayout) -> Stored | None:
    """Decode a JPEG picture to grey samples or RGB.

    Args:
        data: the compressed picture.
        picture: what its markers say; its size has been compared with the header.
        layout: how the header describes the samples.

    Returns:
        The samples, or None where the picture is no JPEG or its depth or colours need another decoder.

    Raises:
        ValueError: the picture is damaged.
    """
    if not is_jpeg(layout) or picture.precision > 8:
        return None
    if picture.is_lossless:
        stored = _decode_8_bit(without_colour_markers(data), layout.samples)
        return convert_color_space(stored, "YBR_FULL", "RGB") if layout.photometric.startswith("YBR") else stored
    return _decode_8_bit(data, layout.samples) if _colours_are_right(layout, picture) else None


def is_jpeg(layout: PixelLayout) -> bool:
    """Whether pictures are JPEG baseline, extended or lossless (not JPEG-LS, not JPEG 2000)."""
    return layout.transfer_syntax in _JPEG


def _colours_are_right(layout: PixelLayout, picture: Picture) -> bool:
    """Whether libjpeg's own idea of the colours agrees with the header.

    Without an Adobe marker libjpeg takes three components for YCbCr; an Adobe transform of 0 says RGB.
    """
    known = layout.photometric in _CONVERTIBLE or layout.samples == 1
    return known and (layout.samples == 1 or picture.adobe_transform in (None, 1))


def _decode_8_bit(data: bytes, samples: int) -> UInt8[np.ndarray, "height width *channels"]:
    """Decode by libjpeg-turbo; a picture that ends early is an error, stray bytes between markers are not."""
    colours = "RGB" if samples == 3 else "GRAY"
    try:
        pixels = simplejpeg.decode_jpeg(data, colorspace=colours, fastdct=False)
    except ValueError as error:
        if _HARMLESS not in str(error):
            raise
        pixels = simplejpeg.decode_jpeg(data, colorspace=colours, fastdct=False, strict=False)
    decoded: UInt8[np.ndarray, "height width *channels"] = pixels if samples == 3 else pixels[:, :, 0]
    return decoded


def decode_deep_grey(data: bytes, layout: PixelLayout) -> Stored:
    """Decode one grey JPEG picture of 9 to 16 bits a sample by FFmpeg.

    Raises:
        ValueError: the picture is damaged, in colour or signed.
    """
    if layout.samples != 1 or layout.signed:
        raise ValueError("coloured or signed JPEG of more than 8 bits is not supported")
    codec = av.CodecContext.create("mjpeg", "r")
    frames = [*codec.decode(av.Packet(data)), *codec.decode(None)]
    if not frames or not frames[0].format.name.startswith("gray"):
        raise ValueError("no grey picture")
    decoded: Stored = frames[0].to_ndarray()
    return decoded
