"""What instances show: by header, and colour flow by pixels."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_studies import draw_sector

from echoapex.domain import ContentKind
from echoapex.io.calibration import UltrasoundRegion
from echoapex.io.content import FoundContent, content_of_pixels
from echoapex.io.dicom.reader import classify_content
from echoapex.io.sector import find_colour_box

MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"
TISSUE = UltrasoundRegion(1, 1, (0, 0, 319, 239), 3, 3, 0.05, 0.05)
SPECTRAL = UltrasoundRegion(3, 3, (0, 240, 319, 479), 4, 7, 0.01, 0.5)
M_MODE = UltrasoundRegion(2, 1, (0, 240, 319, 479), 4, 3, 0.01, 0.05)
TRACE = UltrasoundRegion(4, 10, (0, 440, 319, 479), 4, 0, 0.01, 0.0)


def grey_clip(count: int = 3) -> list[np.ndarray]:
    """B-mode stored as RGB: all three colours equal."""
    return [np.repeat(frame[..., None], 3, axis=2) for frame in draw_sector((240, 320), count)]


def with_flow(frames: list[np.ndarray], box: tuple[int, int, int, int]) -> list[np.ndarray]:
    """Red above and blue below inside the box."""
    x0, y0, x1, y1 = box
    middle = (y0 + y1) // 2
    for frame in frames:
        frame[y0:middle, x0:x1] = (200, 20, 10)
        frame[middle:y1, x0:x1] = (10, 30, 220)
    return frames


def classify(
    regions: list[UltrasoundRegion], frames: list[np.ndarray] | None = None, image_type: tuple[str, ...] = ()
) -> FoundContent:
    return classify_content("US", MULTIFRAME, image_type, regions, frames or grey_clip())


@pytest.mark.parametrize(
    ("regions", "kind", "reason"),
    [
        ([TISSUE], ContentKind.B_MODE, "2D region"),
        ([TISSUE, TRACE], ContentKind.B_MODE, "2D region"),
        ([SPECTRAL], ContentKind.SPECTRAL_DOPPLER, "spectral Doppler region"),
        ([TISSUE, SPECTRAL], ContentKind.SPECTRAL_DOPPLER, "beside a 2D image"),
        ([M_MODE], ContentKind.M_MODE, "M-mode region"),
        ([TISSUE, M_MODE], ContentKind.M_MODE, "beside a 2D image"),
        ([TRACE], ContentKind.NOT_ECHO, "waveform"),
        ([UltrasoundRegion(5, 0, None, None, None, None, None)], ContentKind.NOT_ECHO, "none of them 2D"),
    ],
)
def test_regions_decide(regions: list[UltrasoundRegion], kind: ContentKind, reason: str) -> None:
    content = classify(regions)
    assert content.kind is kind
    assert reason in content.reason
    assert content.is_set_aside == (kind is not ContentKind.B_MODE)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("0001", ContentKind.B_MODE),
        ("0011", ContentKind.B_MODE),
        ("0002", ContentKind.M_MODE),
        ("0009", ContentKind.SPECTRAL_DOPPLER),
        ("0004", ContentKind.SPECTRAL_DOPPLER),
        ("zzzz", ContentKind.B_MODE),
        ("TEE", ContentKind.B_MODE),
    ],
)
def test_the_image_type_decides_where_there_are_no_regions(mode: str, kind: ContentKind) -> None:
    assert classify([], image_type=("ORIGINAL", "PRIMARY", "TTE", mode)).kind is kind


def test_regions_outrank_the_image_type() -> None:
    assert classify([TISSUE], image_type=("ORIGINAL", "PRIMARY", "", "0008")).kind is ContentKind.B_MODE


@pytest.mark.parametrize(("modality", "quoted"), [("CT", "CT"), ("SMITH^JOHN", "another modality")])
def test_other_modalities_are_named_only_when_they_are_known(modality: str, quoted: str) -> None:
    content = classify_content(modality, MULTIFRAME, (), [TISSUE], grey_clip())
    assert content.kind is ContentKind.NOT_ECHO
    assert quoted in content.reason
    assert "SMITH" not in content.reason


def test_an_ultrasound_class_without_modality_is_ultrasound() -> None:
    assert classify_content("", MULTIFRAME, (), [TISSUE], grey_clip()).kind is ContentKind.B_MODE
    assert classify_content("", "1.2.3", (), [TISSUE], grey_clip()).kind is ContentKind.NOT_ECHO


def test_flow_makes_colour_doppler_and_its_box_is_found() -> None:
    content = classify([TISSUE], with_flow(grey_clip(), (120, 60, 200, 150)))
    assert content.kind is ContentKind.COLOUR_DOPPLER
    assert content.colour_box_xyxy == pytest.approx((120, 60, 200, 150), abs=3)


def test_flow_in_one_frame_only_is_found() -> None:
    frames = grey_clip()
    with_flow(frames[1:2], (120, 60, 200, 150))
    assert find_colour_box(frames) == pytest.approx((120, 60, 200, 150), abs=3)


def test_grey_frames_and_grey_stored_as_rgb_have_no_colour_box() -> None:
    assert find_colour_box(grey_clip()) is None
    assert find_colour_box([frame[..., 0] for frame in grey_clip()]) is None


def test_a_scale_bar_a_trace_and_an_icon_are_no_flow() -> None:
    frames = grey_clip()
    for frame in frames:
        frame[20:150, 300:310] = (220, 40, 0)  # colour bar
        frame[200:202, :] = (0, 230, 0)  # ECG
        frame[5:13, 150:158] = (0, 0, 230)  # marker
    assert find_colour_box(frames) is None


def test_a_tinted_grey_scale_is_no_flow() -> None:
    sepia = [(frame * np.array([1.0, 0.7, 0.35])).astype(np.uint8) for frame in grey_clip()]
    assert find_colour_box(sepia) is None


def test_colour_outside_the_region_is_not_looked_at() -> None:
    frames = with_flow(grey_clip(), (200, 20, 300, 120))
    assert find_colour_box(frames, (0.0, 0.0, 180.0, 240.0)) is None
    assert find_colour_box(frames, (150.0, 0.0, 320.0, 240.0)) == pytest.approx((200, 20, 300, 120), abs=3)


def test_the_pixels_outrank_a_header_that_says_2d() -> None:
    noise = list(np.random.default_rng(0).integers(0, 255, (3, 240, 320), dtype=np.uint8))

    content = classify([TISSUE], noise)

    assert content.kind is ContentKind.NOT_ECHO
    assert content.is_set_aside and content.reason and content.sector is None


def test_an_image_type_of_another_part_of_the_body_is_set_aside() -> None:
    content = classify([TISSUE], image_type=("ORIGINAL", "PRIMARY", "SMALL PARTS", "0001"))

    assert content.kind is ContentKind.NOT_ECHO
    assert "small parts" in content.reason


def test_the_sector_comes_with_what_is_analysed() -> None:
    assert classify([TISSUE]).sector is not None
    assert classify([M_MODE]).sector is None


def test_colour_flow_is_told_from_grey_without_a_header() -> None:
    grey, flow = grey_clip(2)
    flow[100:150, 130:190] = (30, 40, 230)

    assert content_of_pixels([grey]).kind is ContentKind.B_MODE
    found = content_of_pixels([grey, flow])
    assert found.kind is ContentKind.COLOUR_DOPPLER
    assert found.colour_box_xyxy == pytest.approx((130, 100, 190, 150), abs=3)
    assert found.sector is not None
