"""The comparison of speed times whole analyses, counts the peer's windows right, and scales what it timed in part."""

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from analyze_speed import BenchmarkError, OurSide, PeerSide, Timings, _peer_total, count_windows, open_peer
from phantom_clips import write_a4c
from random_set import describe_set, find_bundles

from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.study.analyze import NamedInterpreter
from echoapex.io.study_files import read_clip

# answers as the real peer does, at once: 2 windows in 3 s, 5 frames in 1 s
FAKE_PEER = """#!{python}
import json, sys
assert sys.argv[1].endswith("echonet_peer.py") and sys.argv[3:] == {arguments!r}, sys.argv
for line in sys.stdin:
    timed = {{"ejection": {{"cpu_s": 3.0, "wall_s": 6.0}}, "segmentation": {{"cpu_s": 1.0, "wall_s": 2.0}}}}
    print(json.dumps({{"windows": 2, "frames": 5, "torch": "9.9", **timed}}), flush=True)
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_a4c(tmp_path_factory.mktemp("clips"), frames=70, size=128, instances=2)


def fake_venv(folder: Path, arguments: list[str]) -> Path:
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PEER.format(python=sys.executable, arguments=arguments), encoding="utf-8")
    python.chmod(0o755)
    return folder


def choices(venv: Path, *, quick: bool = False) -> Namespace:
    return Namespace(peer_venv=venv, threads=1, peer_precision="fp32", quick=quick)


@pytest.mark.parametrize(("frames", "period", "windows"), [(60, 1, 29), (60, 2, 2), (176, 2, 114), (32, 1, 1)])
def test_windows_are_counted_as_the_peer_counts_them(frames: int, period: int, windows: int) -> None:
    assert count_windows(frames, period) == windows


def test_clips_repeat_the_loop_and_differ(clips: list[Path]) -> None:
    first, second = (read_clip(path) for path in clips)
    assert first.frames.shape == (70, 128, 128)
    assert first.header.spacing is not None
    assert np.array_equal(first.frames[60:], first.frames[:10])
    assert np.array_equal(first.frames[1:], second.frames[:-1])
    assert first.header.source["sha256"] != second.header.source["sha256"]


def test_a_random_set_gives_a_whole_analysis(clips: list[Path], tmp_path: Path) -> None:
    torch.set_num_threads(1)
    bundles = find_bundles("random", tmp_path / "set")
    assert describe_set(bundles)["name"] == "random"
    timings = Timings()
    ours = OurSide(NamedInterpreter(TaskInterpreter.load(bundles, "cpu"), "random", "cpu"), clips[0])
    assert ours.run("cycle", timings) == 70
    assert 0 < timings.medians()["cpu_s"] < 600


def test_a_part_of_the_peers_work_is_scaled_to_the_whole(tmp_path: Path) -> None:
    arguments = ["--threads", "1", "--precision", "fp32", "--windows", "4", "--frames", "20"]
    frames = np.zeros((60, 112, 112, 3), np.uint8)
    with open_peer(choices(fake_venv(tmp_path / "venv", arguments), quick=True), frames, tmp_path) as peer:
        peer.run()
        peer.run()
    total = _peer_total(peer, 60, period=1)
    assert total["ejection"]["cpu_s"] == pytest.approx(29 * 1.5)
    assert total["segmentation"]["wall_s"] == pytest.approx(12 * 2.0)
    assert total["cpu_s"] == pytest.approx(29 * 1.5 + 12 * 1.0)
    assert _peer_total(peer, 60, period=2)["cpu_s"] == pytest.approx(2 * 1.5 + 12 * 1.0)


def test_a_missing_environment_and_a_dead_peer_are_named(tmp_path: Path) -> None:
    frames = np.zeros((60, 112, 112, 3), np.uint8)
    with pytest.raises(BenchmarkError, match="make bench"), open_peer(choices(tmp_path / "none"), frames, tmp_path):
        pass
    venv = fake_venv(tmp_path / "venv", ["other arguments"])
    with open_peer(choices(venv), frames, tmp_path) as peer, pytest.raises(BenchmarkError, match="the peer ended"):
        assert isinstance(peer, PeerSide)
        peer.run()
