"""What an instance shows: a B-mode or colour Doppler image to analyse, or something else to set aside, with the reason.

First the header is checked: modality, format and data type of the ultrasound regions (PS3.3 section C.8.5.5), and the
third and fourth value of ImageType (C.8.5.6.1.1). Then the pixels are checked: whether they show a cardiac fan, and
whether colour Doppler is really on. The header does not tell this reliably: some machines mark whole presets as colour,
others never mark colour at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from echoapex.domain import ContentKind, Sector
from echoapex.io.calibration import SpatialFormat, UltrasoundRegion
from echoapex.io.pixel_content import judge_pixels

Box = tuple[float, float, float, float]

_ULTRASOUND_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.6.1",  # Ultrasound Image
    "1.2.840.10008.5.1.4.1.1.3.1",  # Ultrasound Multi-frame Image
    "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image, retired
    "1.2.840.10008.5.1.4.1.1.3",  # Ultrasound Multi-frame Image, retired
)
_M_MODE_BITS = 0x0002 | 0x0020
_SPECTRAL_BITS = 0x0004 | 0x0008
_TWO_D_BITS = 0x0001 | 0x0010

# values of ImageType 3 that name another part of the body than the heart
_OTHER_PARTS = frozenset(("BREAST", "ENDOCAVITARY", "ENDORECTAL", "ENDOVAGINAL", "GYNECOLOGY", "INTRAVASCULAR"))
_OTHER_PARTS |= frozenset(("MUSCULOSKELETAL", "NEONATAL HEAD", "OBSTETRICAL", "OPHTHALMIC", "PELVIC", "SMALL PARTS"))
_OTHER_PARTS |= frozenset(("THYROID", "TRANSCRANIAL"))

_CHROMA = 48  # difference between the largest and smallest of R, G, B from which a pixel counts as coloured
_VISIBLE = 32  # grey level from which a pixel counts as lit
_TINT_SHARE = 0.6  # above this coloured share of the lit pixels the image is a tinted grey scale, not flow
_SMALLEST_BOX_SHARE = 0.002  # of the area searched
_SMALLEST_BOX_SIDE = 0.05  # of the side of the searched area: colour bars and traces are narrower


@dataclass(frozen=True)
class Content:
    """What an instance shows, the reason, the box of colour flow (pixel edges), and the sector.

    The sector is given if and only if the instance is to be analysed.
    """

    kind: ContentKind
    reason: str = ""
    colour_box_xyxy: Box | None = None
    sector: Sector | None = None

    @property
    def is_set_aside(self) -> bool:
        """Whether the instance is excluded from analysis."""
        return self.kind not in (ContentKind.B_MODE, ContentKind.COLOUR_DOPPLER)


def classify_content(
    modality: str,
    sop_class: str,
    image_type: Sequence[str],
    regions: Sequence[UltrasoundRegion],
    frames: Sequence[UInt8[np.ndarray, "height width *channels"]],
    within_xyxy: Box | None = None,
) -> Content:
    """Classify what an instance shows.

    Args:
        modality: Modality (0008,0060).
        sop_class: SOPClassUID, used if there is no modality.
        image_type: ImageType (0008,0008), all values.
        regions: the ultrasound regions.
        frames: some frames, which are searched for the fan and for colour.
        within_xyxy: the part of the image with ultrasound data, in pixel edges; by default the whole image.

    Returns:
        The content with its reason.
    """
    if modality != "US" and (modality or sop_class not in _ULTRASOUND_CLASSES):
        known = modality if modality in _KNOWN_MODALITIES else "of another modality"
        return Content(ContentKind.NOT_ECHO, f"the image is {known}, not ultrasound")
    part = image_type[2].strip().upper() if len(image_type) > 2 else ""
    if part in _OTHER_PARTS:
        return Content(ContentKind.NOT_ECHO, f"the image type says {part.lower()}, not the heart")
    by_header = _classify_regions(regions) if regions else _classify_image_type(image_type)
    if by_header.is_set_aside:
        return by_header
    by_pixels = content_of_pixels(frames, within_xyxy)
    return by_pixels if by_pixels.kind is not ContentKind.B_MODE else replace(by_pixels, reason=by_header.reason)


def content_of_pixels(
    frames: Sequence[UInt8[np.ndarray, "height width *channels"]], within_xyxy: Box | None = None
) -> Content:
    """B-mode, colour Doppler if some frames show coloured flow, or what else the pixels show."""
    judged = judge_pixels(frames, within_xyxy)
    if judged.sector is None:
        return Content(judged.kind, judged.reason)
    box = find_colour_box(frames, within_xyxy)
    if box is None:
        return Content(ContentKind.B_MODE, sector=judged.sector)
    return Content(ContentKind.COLOUR_DOPPLER, "coloured pixels of flow in the image", box, judged.sector)


def find_colour_box(
    frames: Sequence[UInt8[np.ndarray, "height width *channels"]], within_xyxy: Box | None = None
) -> Box | None:
    """The box around the colour flow in some frames, or None if there is none.

    A pixel counts as coloured if its largest and smallest colour value differ clearly. Morphological opening removes
    thin traces, text and icons; narrow scale bars are removed by their width. An image in which nearly all lit pixels
    are coloured is a tinted grey scale.

    Args:
        frames: RGB frames of one size; in grey frames no colour is found.
        within_xyxy: the region of ultrasound data in pixel edges; by default the whole image.

    Returns:
        (x0, y0, x1, y1) in pixel edges.
    """
    coloured_frames = [frame for frame in frames if frame.ndim == 3]
    if not coloured_frames:
        return None
    height, width = coloured_frames[0].shape[:2]
    x0, y0, x1, y1 = _clip(within_xyxy or (0, 0, width, height), (height, width))
    if x1 - x0 < 8 or y1 - y0 < 8:
        return None
    flow = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for frame in coloured_frames:
        flow |= _flow_pixels(frame[y0:y1, x0:x1])
    found = _largest_patches(flow)
    if found is None:
        return None
    left, top, right, bottom = found
    return (float(x0 + left), float(y0 + top), float(x0 + right), float(y0 + bottom))


def _classify_regions(regions: Sequence[UltrasoundRegion]) -> Content:
    formats = {region.spatial_format for region in regions}
    beside = " beside a 2D image" if SpatialFormat.TWO_D in formats else ""
    if SpatialFormat.SPECTRAL in formats:
        return Content(ContentKind.SPECTRAL_DOPPLER, f"the header has a spectral Doppler region{beside}")
    if SpatialFormat.M_MODE in formats:
        return Content(ContentKind.M_MODE, f"the header has an M-mode region{beside}")
    if any(region.shows_a_plane for region in regions):
        return Content(ContentKind.B_MODE, "the header has a 2D region")
    if SpatialFormat.WAVEFORM in formats:
        return Content(ContentKind.NOT_ECHO, "the header has a waveform region and no 2D region")
    return Content(ContentKind.NOT_ECHO, "the header has ultrasound regions, none of them 2D")


def _classify_image_type(image_type: Sequence[str]) -> Content:
    """Classify by the mode bits in ImageType value 4 (hexadecimal); without them a 2D image is assumed."""
    try:
        bits = int(image_type[3], 16) if len(image_type) > 3 and len(image_type[3]) == 4 else 0
    except ValueError:
        bits = 0
    if bits & _SPECTRAL_BITS:
        return Content(ContentKind.SPECTRAL_DOPPLER, "the image type says spectral Doppler")
    if bits & _M_MODE_BITS:
        return Content(ContentKind.M_MODE, "the image type says M-mode")
    if bits & _TWO_D_BITS:
        return Content(ContentKind.B_MODE, "the image type says 2D")
    return Content(ContentKind.B_MODE, "the header does not say; taken for a 2D image")


def _flow_pixels(patch: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Coloured pixels of one frame; none if the whole frame is tinted."""
    red, green, blue = cv2.split(patch)
    brightest = cv2.max(cv2.max(red, green), blue)
    darkest = cv2.min(cv2.min(red, green), blue)
    coloured: Bool[np.ndarray, "height width"] = (brightest - darkest) >= _CHROMA
    lit = np.count_nonzero(brightest >= _VISIBLE)
    if np.count_nonzero(coloured) > _TINT_SHARE * lit:
        return np.zeros_like(coloured)
    return coloured


def _largest_patches(flow: Bool[np.ndarray, "height width"]) -> tuple[int, int, int, int] | None:
    """The box around all patches of colour that are large enough to be flow."""
    height, width = flow.shape
    solid = cv2.morphologyEx(flow.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    reach = max(3, min(height, width) // 40) | 1
    joined = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(joined)
    boxes = [
        (left, top, left + w, top + h)
        for left, top, w, h, area in stats[1:].tolist()
        if w >= _SMALLEST_BOX_SIDE * width
        and h >= _SMALLEST_BOX_SIDE * height
        and area >= _SMALLEST_BOX_SHARE * height * width
    ]
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return (min(lefts), min(tops), max(rights), max(bottoms))


def _clip(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    height, width = size
    x0, y0, x1, y1 = (round(edge) for edge in box)
    return (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))


_KNOWN_MODALITIES = frozenset(("BI", "CR", "CT", "DX", "ECG", "ES", "GM", "IO", "IVOCT", "IVUS", "MG", "MR", "NM"))
_KNOWN_MODALITIES |= frozenset(("OCT", "OP", "OPT", "OT", "PT", "PX", "RF", "RG", "SC", "SM", "SR", "XA", "XC"))
