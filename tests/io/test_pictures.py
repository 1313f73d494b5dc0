from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoapex.io.pictures import VideoWriteError, open_video_writer
from echoapex.io.video import open_video


def moving_square(count: int = 12) -> np.ndarray:
    frames = np.zeros((count, 64, 96, 3), np.uint8)
    for index in range(count):
        frames[index, 20:44, 4 + 5 * index : 28 + 5 * index] = (200, 180, 160)
    return frames


def test_a_written_video_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "clip.mp4"
    frames = moving_square()
    with open_video_writer(path, (64, 96), 25.0) as write:
        for frame in frames:
            write(frame)
    source = open_video(path)
    assert source.header.frame_count == len(frames)
    assert np.diff(source.header.frame_times_s) == pytest.approx(1 / 25, abs=1e-3)
    difference = np.stack(list(source.frames())).astype(int) - frames
    assert np.abs(difference).mean() < 4


def test_an_avi_is_an_avi_and_keeps_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    frames = moving_square()
    with open_video_writer(path, (64, 96), 25.0) as write:
        for frame in frames:
            write(frame)
    assert (path.read_bytes()[:4], path.read_bytes()[8:12]) == (b"RIFF", b"AVI ")
    source = open_video(path)
    assert (source.header.frame_count, source.header.source["format"]) == (len(frames), "avi")
    assert np.diff(source.header.frame_times_s) == pytest.approx(1 / 25, abs=1e-6)
    difference = np.stack(list(source.frames())).astype(int) - frames
    assert np.abs(difference).mean() < 2


def test_the_rate_is_kept_playable(tmp_path: Path) -> None:
    with open_video_writer(tmp_path / "fast.mp4", (64, 96), 5000.0) as write:
        for frame in moving_square(4):
            write(frame)
    assert np.diff(open_video(tmp_path / "fast.mp4").header.frame_times_s) == pytest.approx(1 / 120, abs=1e-3)


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_video_writer(tmp_path / "clip.mp4", (64, 96), 25.0) as write:
        write(moving_square()[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_and_odd_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoWriteError, match="even"), open_video_writer(tmp_path / "a.mp4", (65, 96), 25.0):
        pass
    with pytest.raises(VideoWriteError, match="a frame of"), open_video_writer(tmp_path / "a.mp4", (64, 96), 25) as w:
        w(np.zeros((64, 64, 3), np.uint8))
