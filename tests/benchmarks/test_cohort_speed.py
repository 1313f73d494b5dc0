"""The benchmark of cohorts measures workers, not itself, and says when its ratio means nothing."""

import os
import subprocess
import sys
import time

import cohort_speed
import pytest
from cohort_speed import MemoryMeter, Watch


def test_memory_is_that_of_a_child() -> None:
    script = "import time; block = bytearray(150_000_000); block[::4096] = b'1' * len(block[::4096]); time.sleep(20)"
    with subprocess.Popen([sys.executable, "-c", script]) as child, MemoryMeter() as memory:
        deadline = time.monotonic() + 15
        while memory.peak_mb < 150 and time.monotonic() < deadline:
            time.sleep(0.1)
        child.kill()
    assert 150 <= memory.peak_mb < 400


def test_a_clip_that_fails_ends_the_benchmark() -> None:
    watch = Watch()
    watch.finished("clip", "A4C")
    assert len(watch.times_s) == 1
    with pytest.raises(SystemExit, match="clip: failed"):
        watch.finished("clip", "failed: is empty")


def test_the_ratio_is_of_medians_and_needs_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {1: [10.0, 12.0, 11.0], 2: [6.0, 5.5, 9.0]}

    def pretend(_models: object, _studies: object, workers: int, runs: cohort_speed.Runs) -> int:
        runs.whole_s.append(times[workers].pop(0))
        runs.clip_s.append(1.0 / workers)
        runs.worker_mb.append(800.0)
        return 3

    monkeypatch.setattr(cohort_speed, "analyze_once", pretend)
    monkeypatch.setattr(cohort_speed, "write_study", lambda *_: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    found = cohort_speed.measure([1, 2], 1, 3, 96)
    assert found["workers"]["2"]["speed_up"] == round(11 / 6, 2)
    assert found["workers"]["2"]["speed_up_of_further_clips"] == 2.0
    assert found["means_something"] is False
