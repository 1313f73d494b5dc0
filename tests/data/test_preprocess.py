"""Model pixels and the way home: geometry exact to the pixel centre, memory bounded, furniture blanked."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_files import real_dicom

from echoapex.data.preprocess import (
    SECTOR_NOT_FOUND,
    prepare_frames,
    prepare_image,
    prepare_labels,
    probabilities_to_native,
    square_box,
    to_grey,
    to_native_labels,
)
from echoapex.domain import ClipHeader, FrameTransform, Sector
from echoapex.io.clip_source import ReadError
from echoapex.io.dicom.reader import open_dicom
from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View

SIZES = st.tuples(st.integers(120, 500), st.integers(120, 500))


@dataclass
class _Source:
    """A clip whose frames are made when asked for; ``decoded`` counts them."""

    header: ClipHeader
    pixels: np.ndarray
    decoded: int = 0

    def frames(self) -> Iterator[np.ndarray]:
        for frame in self.pixels:
            self.decoded += 1
            yield frame


def _source(pixels: np.ndarray, **fields: object) -> _Source:
    times = tuple(index / 30 for index in range(len(pixels)))
    return _Source(ClipHeader("clip", pixels.shape[1:3], times, spacing_reason="test", **fields), pixels)


@st.composite
def _sectors(draw: st.DrawFn) -> tuple[tuple[int, int], Sector]:
    height, width = draw(SIZES)
    x0 = draw(st.floats(0, width - 100))
    y0 = draw(st.floats(0, height - 100))
    x1 = draw(st.floats(x0 + 90, width))
    y1 = draw(st.floats(y0 + 90, height))
    return (height, width), Sector((x0, y0, x1, y1))


@settings(max_examples=60, deadline=None)
@given(_sectors(), st.sampled_from([112, 160, 224]))
def test_points_come_home(case: tuple[tuple[int, int], Sector], size: int) -> None:
    native_size, sector = case
    points = np.random.default_rng(0).uniform(0, 400, (20, 2))

    _, transform = prepare_image(np.zeros(native_size, np.uint8), sector, size)

    assert np.abs(transform.inverse.map_points(transform.map_points(points)) - points).max() < 1e-6


@settings(max_examples=40, deadline=None)
@given(_sectors(), st.sampled_from([112, 160, 224]))
def test_masks_come_home(case: tuple[tuple[int, int], Sector], size: int) -> None:
    (height, width), sector = case
    x0, y0, x1, y1 = sector.box_xyxy
    mask = np.zeros((height, width), np.uint8)
    centre = (round((x0 + x1) / 2), round((y0 + y1) / 2))
    # the larger the reduction, the larger the mask must be for its rim to weigh little
    radius = 0.45 * min(x1 - x0, y1 - y0)
    cv2.circle(mask, centre, round(max(radius, 35)), 3, -1)
    _, transform = prepare_image(mask, sector, size)

    small = prepare_labels(mask, transform)
    box = square_box(sector, (height, width))
    columns, rows = np.arange(width), np.arange(height)
    mask[:, (columns < box[0]) | (columns >= box[2])] = 0
    mask[(rows < box[1]) | (rows >= box[3])] = 0
    by_label = to_native_labels(small, transform)
    by_probability = probabilities_to_native((small == 3)[None].astype(np.float32), transform, [3])

    for home in (by_label, by_probability):
        assert set(np.unique(home)) <= {0, 3}
        assert 2 * ((home == 3) & (mask == 3)).sum() / ((home == 3).sum() + (mask == 3).sum()) > 0.97


@pytest.mark.parametrize(("height", "width", "size"), [(400, 600, 128), (480, 640, 224), (90, 70, 160)])
def test_pixels_obey_the_transform(height: int, width: int, size: int) -> None:
    """A ramp keeps its value at every mapped pixel centre, so image and transform agree below a tenth of a pixel."""
    ramp = np.rint(np.linspace(0, 255, width))[None].repeat(height, axis=0).astype(np.uint8)
    sector = Sector((0, 0, width, height))

    pixels, transform = prepare_image(ramp, sector, size)

    row = size // 3 if width <= height else int(transform.map_points(np.array([[0.0, height / 2]]))[0, 1])
    middle = np.arange(size // 4, 3 * size // 4)
    native = transform.inverse.map_points(np.stack([middle, np.full_like(middle, row)], axis=1).astype(float))
    expected = native[:, 0] * 255 / (width - 1)
    assert np.abs((pixels[row, middle] - expected).mean()) < 0.1 * 255 / width + 0.05
    assert np.abs(pixels[row, middle] - expected).max() < 1.5


def test_a_single_lit_pixel_is_found_where_the_transform_says() -> None:
    frame = np.zeros((300, 400), np.uint8)
    frame[140:149, 200:209] = 255  # centre (204, 144)

    pixels, transform = prepare_image(frame, Sector((50, 20, 350, 280)), 200)

    rows, columns = np.indices(pixels.shape)
    weights = pixels / pixels.sum()
    centre = np.array([[(columns * weights).sum(), (rows * weights).sum()]])
    assert transform.inverse.map_points(centre)[0] == pytest.approx((204, 144), abs=0.05)


def test_the_crop_is_square_top_aligned_and_centred() -> None:
    assert square_box(Sector((100, 30, 500, 280)), (480, 640)) == (100, 30, 500, 430)
    assert square_box(Sector((200, 10, 300, 310)), (480, 640)) == (100, 10, 400, 310)
    assert square_box(None, (100, 200)) == (0, 0, 200, 200)


def test_a_crop_beyond_the_image_is_black_there() -> None:
    pixels, _ = prepare_image(np.full((100, 200), 90, np.uint8), None, 50)

    assert (pixels[:24] == 90).all()
    assert (pixels[26:] == 0).all()


def test_outside_of_the_sector_is_blank() -> None:
    clip = simulate_clip(View.A4C, 5, frames=3, label_frames="none")
    frames = clip.frames.copy()
    frames[:, -12:, :60] = 255  # an ECG in the corner

    prepared = prepare_frames(_source(frames, sector=clip.sector), 128)

    assert prepared.pixels.shape == (3, 128, 128)
    assert prepared.sector == clip.sector
    box = square_box(clip.sector, frames.shape[1:])
    corner = FrameTransform.crop_resize(box, frames.shape[1:], (128, 128)).map_points(np.array([[8.0, 250.0]]))[0]
    x, y = np.clip(np.rint(corner).astype(int), 0, 127)
    assert prepared.pixels[:, y, x].max() == 0
    assert prepared.pixels.mean() > 5


def test_the_sector_is_found_where_none_is_given() -> None:
    clip = simulate_clip(View.PLAX, 6, frames=8, label_frames="none")

    prepared = prepare_frames(_source(clip.frames), 96)

    assert prepared.sector is not None
    assert prepared.sector.box_xyxy == pytest.approx(clip.sector.box_xyxy, abs=6)
    assert SECTOR_NOT_FOUND not in prepared.header.flags


def test_a_clip_without_sector_is_used_whole_with_a_flag() -> None:
    prepared = prepare_frames(_source(np.zeros((4, 60, 80), np.uint8)), 32)

    assert prepared.sector is None
    assert SECTOR_NOT_FOUND in prepared.header.flags
    assert prepared.transform.source_size == (60, 80)


def test_long_clips_are_strided_evenly_and_decoded_once() -> None:
    pixels = np.zeros((100, 64, 64), np.uint8)
    pixels += np.arange(100, dtype=np.uint8)[:, None, None]
    source = _source(pixels, sector=Sector((0, 0, 64, 64)))

    prepared = prepare_frames(source, 32, max_frames=30)

    assert prepared.frame_indices == tuple(range(0, 100, 4))
    assert prepared.pixels[:, 5, 5].tolist() == list(range(0, 100, 4))
    assert prepared.frame_times_s == tuple(index / 30 for index in prepared.frame_indices)
    assert source.decoded == 100


def test_colour_becomes_luminance() -> None:
    frame = np.zeros((2, 2, 3), np.uint8)
    frame[0, 0] = (255, 0, 0)
    frame[0, 1] = (0, 255, 0)
    frame[1, 0] = (10, 10, 10)

    assert to_grey(frame).tolist() == [[76, 150], [10, 0]]


def test_a_frame_of_another_size_is_refused() -> None:
    source = _source(np.zeros((3, 50, 50), np.uint8), sector=Sector((0, 0, 50, 50)))
    source.pixels = np.zeros((3, 40, 50), np.uint8)

    with pytest.raises(ReadError, match="50 x 40 pixels in a clip of 50 x 50"):
        prepare_frames(source, 32)


def test_the_most_probable_structure_wins_and_the_rest_is_background() -> None:
    transform = FrameTransform.crop_resize((0, 0, 40, 40), (40, 40), (10, 10))
    probabilities = np.zeros((2, 10, 10), np.float32)
    probabilities[0, :5] = 0.9
    probabilities[1, :, 5:] = 0.95
    probabilities[1, 9, 0] = 0.4

    labels = probabilities_to_native(probabilities, transform, [4, 6])

    assert labels[5, 5] == 4
    assert labels[5, 35] == 6
    assert labels[35, 35] == 6
    assert labels[38, 1] == 0
    with pytest.raises(ValueError, match="2 probability maps but 1 labels"):
        probabilities_to_native(probabilities, transform, [4])


def test_a_real_clip() -> None:
    source = open_dicom(real_dicom("color3d_jpeg_baseline.dcm"))

    prepared = prepare_frames(source, 112, max_frames=20)

    assert prepared.pixels.shape == (20, 112, 112)
    x0, y0, x1, y1 = prepared.sector.box_xyxy
    assert (x0, y0, x1, y1) == pytest.approx((80, 40, 600, 403), abs=8)
    spacing = prepared.transform.map_spacing(source.header.spacing)
    assert spacing.row_mm == pytest.approx(spacing.column_mm)
    assert spacing.column_mm * 112 == pytest.approx(0.51 * (x1 - x0), rel=0.02)
