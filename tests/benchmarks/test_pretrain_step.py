"""The comparison of steps: both ways of writing the loss agree, and ratios mean what they say."""

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pretrain_step
import pretrain_turns
import pytest
import torch
from pretrain_echoapex import EchoApexSide
from pretrain_step import (
    BenchmarkError,
    Timed,
    compare_losses,
    crop_source,
    measure_gemm,
    parse,
    take_turn,
    write_crops,
)
from pretrain_turns import Crops, Size, read_memory_mb

TINY = Size("tiny", 32, 16, 2)
FAKE_PEER = """#!{python}
import json, sys
assert sys.argv[1].endswith("pretrain_lightly.py"), sys.argv
assert sys.argv[3:] == ["--threads", "1", "--size", "tiny-112"], sys.argv
print("a warning")
print(json.dumps({{"cpu_s": [4.0], "wall_s": [9.0], "losses": [1.0], "peak_mb": 200, "gflop": 8, "torch": "9.9"}}))
"""


class Frames:
    """Noise, as frames."""

    def __len__(self) -> int:
        return 5

    def take(self, rows: list[int]) -> list[np.ndarray]:
        """Frames with these numbers."""
        return [np.random.default_rng(row).integers(1, 255, (64, 64), dtype=np.uint8) for row in rows]


@pytest.fixture
def crops(tmp_path: Path) -> Crops:
    write_crops(crop_source(Frames(), TINY, 2), tmp_path / "crops.npz")
    return Crops(tmp_path / "crops.npz")


def test_crops_come_back_as_drawn(crops: Crops) -> None:
    drawn = crop_source(Frames(), TINY, 2).batch(1)
    for found, expected in zip(crops.batch(1), (drawn.global_crops, drawn.local_crops, drawn.masked), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(crops.batch(4)[0], crops.batch(1)[0])


def test_the_fast_step_learns_what_the_formulas_learn(crops: Crops, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PROTOTYPES", 300), ("HIDDEN", 32), ("BOTTLENECK", 16)):
        monkeypatch.setattr(pretrain_turns, name, value)
    losses = {}
    for plain in (False, True):
        torch.manual_seed(0)
        side = EchoApexSide(TINY, "fp32", crops, plain=plain)
        losses[plain] = [side.step(number) for number in range(5)]
    assert losses[False] == pytest.approx(losses[True], abs=1e-4)
    assert losses[True][3] != pytest.approx(losses[True][0], abs=1e-3), "the same batch, but weights have moved"


def test_a_side_is_asked_and_its_last_line_is_the_answer(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(FAKE_PEER.format(python=sys.executable), encoding="utf-8")
    python.chmod(0o755)
    choices = Namespace(peer_venv=tmp_path, threads=1)
    answer = take_turn(choices, "pretrain_lightly.py", tmp_path / "crops.npz", ["--size", "tiny-112"])
    kept = Timed()
    kept.add(answer)
    kept.add({**answer, "cpu_s": [6.0], "peak_mb": 300})
    row = kept.summary(frames=10, gemm_gflops=4.0)
    assert (row["cpu_s"], row["least_cpu_s"], row["images_per_cpu_s"], row["peak_mb"]) == (5.0, 4.0, 2.0, 300)
    assert row["share_of_gemm_peak"] == 0.5
    with pytest.raises(BenchmarkError, match="exit code 1"):
        take_turn(choices, "pretrain_lightly.py", tmp_path / "crops.npz", ["--size", "other"])
    with pytest.raises(BenchmarkError, match="no environment"):
        take_turn(Namespace(peer_venv=tmp_path / "none", threads=1), "pretrain_lightly.py", tmp_path, [])


def test_ratios_are_theirs_over_ours_in_time_and_ours_over_theirs_in_memory() -> None:
    ours = {"cpu_s": 2.0, "least_cpu_s": 1.0, "peak_mb": 50.0}
    theirs = {"cpu_s": 3.0, "least_cpu_s": 2.5, "peak_mb": 100.0}
    ratios = pretrain_step._ratios({"echoapex bf16": ours, "lightly fp32": theirs})
    assert ratios == {"echoapex bf16 / lightly fp32": {"speed": 1.5, "speed_by_least_cpu_s": 2.5, "peak_memory": 0.5}}


def test_curves_are_compared_with_the_formulas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(choices: Namespace, script: str, crops: Path, options: list[str]) -> dict[str, list[float]]:
        return {"losses": [3.0, 2.0] if "--plain" in options else [3.0, 2.5]}

    monkeypatch.setattr(pretrain_step, "take_turn", answer)
    found = compare_losses(Namespace(curve=2), tmp_path)
    assert found["greatest_difference"] == {"fast fp32": 0.5, "fast bf16": 0.5}
    assert found["fall"] == 1.0


def test_quick_is_one_step_and_matrix_products_have_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (parse(["--quick"]).rounds, parse(["--quick"]).steps, parse([]).rounds) == (1, 1, 3)
    monkeypatch.setattr(pretrain_step, "GEMM_SIDE", 256)
    torch.set_num_threads(1)
    assert 0.1 < measure_gemm(torch.float32) < 10_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc, which only Linux has")
def test_the_peak_is_at_least_what_is_held_now() -> None:
    assert read_memory_mb("VmHWM") >= read_memory_mb("VmRSS") > 10
