"""The table of what the gate sets aside: cases of both halves, drawings and the phantom, counted as they are judged."""

from pathlib import Path

import numpy as np
import pytest
from fit_picture_gate import SIGNS, fit
from gate_cases import Case, drawn_cases, read_frames
from not_an_echo import Verdict, judge, main, write_table
from not_echo_pictures import BESIDE_CLIPS, DRAWN
from PIL import Image

from echoapex.io.content import PictureTraits, soft_traits
from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    frames = np.asarray(simulate_clip(View.A4C, 1_000_303, frames=4, label_frames="none").frames)
    return np.repeat(frames[..., None], 3, axis=3)


@pytest.mark.parametrize("kind", [*DRAWN, *BESIDE_CLIPS])
def test_drawings_are_colour_frames_and_repeat(kind: str, clip: np.ndarray) -> None:
    first, again = (DRAWN[kind](3) if kind in DRAWN else BESIDE_CLIPS[kind](3, [clip]) for _ in range(2))
    assert first.dtype == np.uint8 and first.ndim == 4 and first.shape[3] == 3
    assert np.array_equal(first, again)


def test_drawings_are_set_aside(clip: np.ndarray) -> None:
    verdicts = [judge(case) for case in drawn_cases(4, {"tuning": [clip], "judging": [clip]})]

    assert {verdict.half for verdict in verdicts} == {"tuning", "judging"}
    assert np.mean([verdict.set_aside for verdict in verdicts]) >= 0.95
    assert all(verdict.reason for verdict in verdicts if verdict.set_aside)


def test_a_file_goes_through_its_reader(tmp_path: Path, clip: np.ndarray) -> None:
    Image.fromarray(clip[0]).save(path := tmp_path / "a4c.png")

    verdict = judge(Case("x", "a4c", True, "judging", lambda: read_frames(path), path))

    assert not verdict.set_aside
    assert np.array_equal(read_frames(path)[0], clip[0])


def test_the_table_counts_lost_and_set_aside_apart() -> None:
    rows = [("M-mode", False, True), ("M-mode", False, False), ("heart", True, False), ("heart", True, True)]
    verdicts = [Verdict(group, "n", "judging", echo, aside, "", "") for group, echo, aside in rows]

    table = write_table(verdicts)

    assert "| M-mode | - | 1 of 2 (50.0%) |" in table
    assert "| **no echocardiogram** | - | 1 of 2 (50.0%) |" in table
    assert "| **echocardiograms (lost)** | - | 1 of 2 (50.0%) |" in table


def test_the_command_prints_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("not_an_echo.phantom_cases", lambda: iter(()))
    monkeypatch.setattr("not_an_echo.real_cases", lambda _folder: iter(()))
    monkeypatch.setattr("not_an_echo.drawn_cases", lambda count, clips: iter([]))

    assert main(["--out", str(tmp_path / "v.json")]) == 0

    assert "goals: at least 95%" in capsys.readouterr().out
    assert (tmp_path / "v.json").read_text() == "[]"


def test_the_fit_separates_what_differs_and_keeps_its_signs() -> None:
    rng = np.random.default_rng(0)
    usual = PictureTraits(75, 0, 0.5, 0.9, 0.99, 0, 0.8, 0, 0.25, 0.9, 0)

    def some(count: int, sides: float, turning: float) -> list[PictureTraits]:
        from dataclasses import replace

        spread = rng.normal(0, 0.05, (count, 2))
        return [replace(usual, sides=sides + a, turning=turning + b) for a, b in spread]

    found = fit(some(60, 0.75, 0.9), some(40, 0.3, 0.0))

    assert set(found["traits"]) == set(SIGNS) == set(soft_traits(usual))
    assert all(slope * SIGNS[name] >= 0 for name, (_, slope) in found["traits"].items())
    assert found["highest_other"] < found["lowest_echo"]
