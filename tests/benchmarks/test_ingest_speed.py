"""The comparison of ingest with plain decoding counts the same frames on both sides, or refuses."""

from pathlib import Path

import numpy as np
import pytest
from drawn_studies import draw_fan_clip, write_fan_clip
from ingest_speed import BenchmarkError, compare
from synthetic_dicom import write_native


def test_both_sides_do_the_same_frames(tmp_path: Path) -> None:
    files = [write_fan_clip(tmp_path / f"{n}.dcm", draw_fan_clip(n, frames=3 + n), n) for n in range(2)]
    found = compare(files, repetitions=2)
    assert (found["frames"], found["files"], found["size"]) == (7, 2, [128, 128])
    assert all(len(seconds) == 2 for seconds in found["cpu_s"].values())
    rates = found["frames_per_cpu_second"]
    assert found["ratio_to_plain_pydicom"]["ingest"] == pytest.approx(rates["ingest"] / rates["plain pydicom"], rel=0.1)


def test_a_file_that_is_set_aside_is_no_comparison(tmp_path: Path) -> None:
    path = write_native(tmp_path / "x.dcm", np.zeros((2, 64, 64), np.uint8), "MONOCHROME2")
    with pytest.raises(BenchmarkError, match="not every file"):
        compare([path], repetitions=1)
