"""Memory is read of the process that does the work, not of the one that started it."""

import mmap
from pathlib import Path

import numpy as np
import pytest
from analyze_memory import MemoryObserver, read_memory_mb, run_alone, write_clips

if not Path("/proc/self/status").exists():
    pytest.skip("memory is read from /proc, which only Linux has", allow_module_level=True)


def test_a_peak_remains_when_memory_is_given_back() -> None:
    with mmap.mmap(-1, 300_000_000) as block:  # given back at once, whatever the allocator of this process keeps
        for _ in range(300):
            block.write(b"1" * 1_000_000)
        peak = read_memory_mb("VmHWM")
    assert peak >= 300
    assert read_memory_mb("VmRSS") <= peak - 250


def test_a_process_does_not_inherit_the_peak_of_the_one_that_started_it() -> None:
    block = np.ones(500_000_000, np.uint8)
    assert run_alone(read_memory_mb, "VmHWM") < read_memory_mb("VmHWM") - 400
    del block


def test_clips_are_written_and_counted(tmp_path: Path) -> None:
    on_disk_mb = run_alone(write_clips, tmp_path, 3, 96, 2)
    files = sorted(tmp_path.glob("*.dcm"))
    assert len(files) == 2
    assert on_disk_mb == pytest.approx(sum(file.stat().st_size for file in files) / 1e6, abs=0.1)


def test_the_observer_notes_memory_after_every_clip() -> None:
    observer = MemoryObserver()
    for _ in range(3):
        observer.finished("clip", "A4C")
    assert len(observer.after_clip_mb) == 3
    assert all(megabytes > 10 for megabytes in observer.after_clip_mb)
