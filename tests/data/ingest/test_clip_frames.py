"""One clip: what is kept of it, where its pixels come from, what is set aside."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_studies import SPACING, draw_fan_clip, write_fan_clip
from real_files import real_dicom
from synthetic_dicom import region, write_native

from echoapex.data.ingest.plan import IngestRules
from echoapex.data.ingest.unit_work import ClipFrames, read_clip_frames
from echoapex.domain import ContentKind
from echoapex.io.clip_file import ClipFile
from echoapex.io.study_files import find_clips

KEY = bytes(range(32))


def read(path: Path, **rules: object) -> ClipFrames:
    (clip,) = find_clips([path])
    assert isinstance(clip, ClipFile)
    return read_clip_frames(clip, IngestRules.model_validate(rules), KEY)


def test_pixels_come_from_where_the_transform_says(tmp_path: Path) -> None:
    frames = draw_fan_clip(3, size=160)
    found = read(write_fan_clip(tmp_path / "c.dcm", frames, 1), size=96)
    assert found.pixels.shape == (6, 96, 96)
    assert found.frame_indices == (0, 1, 2, 3, 4, 5)
    assert found.transform is not None
    matrix = found.transform.matrix[:2]
    for kept, native in zip(found.pixels, frames, strict=True):
        expected = cv2.warpAffine(cv2.blur(native, (2, 2)), matrix, (96, 96), flags=cv2.INTER_LINEAR)
        assert np.corrcoef(kept.ravel(), expected.ravel())[0, 1] > 0.97
    assert found.header.spacing is not None
    assert found.transform.map_spacing(found.header.spacing).row_mm == pytest.approx(
        SPACING.row_mm / found.transform.matrix[1, 1]
    )


def test_text_outside_the_sector_is_blanked(tmp_path: Path) -> None:
    frames = draw_fan_clip(3, size=160)
    for frame in frames:
        cv2.putText(frame, "DOE", (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1)
    assert frames[:, :16, :30].max() == 255
    found = read(write_fan_clip(tmp_path / "c.dcm", frames, 1), size=160)
    assert found.transform is not None
    x, y = found.transform.map_points(np.array([30.0, 16.0])).round().astype(int)
    assert min(x, y) > 4
    assert found.pixels[:, :y, :x].max() == 0
    assert found.pixels.max() > 50


def test_long_clips_are_sampled_evenly_and_only_these_frames_decoded(tmp_path: Path) -> None:
    path = write_fan_clip(tmp_path / "c.dcm", draw_fan_clip(3, frames=23), 1)
    assert read(path, max_frames=6).frame_indices == tuple(range(0, 23, 4))
    assert read(path, max_frames=6).sampled == 6
    assert read(path, stride=5).frame_indices == (0, 5, 10, 15, 20)
    assert read(path, stride=2, max_frames=3).frame_indices == (0, 8, 16)


def test_frozen_frames_go(tmp_path: Path) -> None:
    frames = draw_fan_clip(3, frames=4)[[0, 0, 0, 1, 1, 2, 0]]
    found = read(write_fan_clip(tmp_path / "c.dcm", frames, 1))
    assert found.frame_indices == (0, 3, 5)
    assert found.sampled == 7
    assert read(tmp_path / "c.dcm", near_duplicate_bits=-1).frame_indices == tuple(range(7))


def test_the_real_clip_keeps_what_moves() -> None:
    found = read(real_dicom("color3d_jpeg_baseline.dcm"))
    assert found.sampled == 60  # 120 frames, at most 64
    assert 40 <= len(found.pixels) <= 60
    assert not found.set_aside
    assert found.header.source["patient"] != ""


def test_what_shows_no_2d_echo_is_set_aside(tmp_path: Path) -> None:
    frames = np.repeat(draw_fan_clip(3)[..., None], 3, axis=-1)
    spectral = region((0, 0, 127, 127), RegionSpatialFormat=3, RegionDataType=3)
    path = write_native(tmp_path / "d.dcm", frames, "RGB", SequenceOfUltrasoundRegions=[spectral])
    found = read(path)
    assert found.header.content is ContentKind.SPECTRAL_DOPPLER
    assert "spectral" in found.set_aside
    assert len(found.pixels) == 0


def test_without_a_sector_nothing_is_kept(tmp_path: Path) -> None:
    """Text alone: the whole image would go in, with whatever is written in it."""
    frames = np.zeros((4, 120, 160), np.uint8)
    for frame in frames:
        cv2.putText(frame, "JANE DOE", (5, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    found = read(write_native(tmp_path / "t.dcm", frames, "MONOCHROME2"))
    assert "no ultrasound fan" in found.set_aside
    assert found.header.sector is None
    assert len(found.pixels) == 0


def test_colour_is_kept_and_marked() -> None:
    found = read(real_dicom("ultrasound-multiframe.dcm"), max_frames=4)
    assert found.header.content is ContentKind.COLOUR_DOPPLER
    assert len(found.pixels) == 4
