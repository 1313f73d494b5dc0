"""Self-training: only frames on which moved copies agree and which look like chambers are kept."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import self_labels
from self_labels import Teacher, is_plausible, label_clip, main
from tiny_clip_folder import write_tiny_clip_folder

from echoapex.data.datasets.folder import ClipFolder
from echoapex.vocabulary import Structure, View

BOTH = (Structure.LV_CAVITY, Structure.LEFT_ATRIUM)


class Bright:
    """Calls every pixel above a level the LV cavity; ``steady`` or, every other time it looks, nothing at all."""

    input_size = 64

    def __init__(self, steady: bool = True) -> None:
        self.steady, self.looks = steady, 0

    def encode(self, pixels: np.ndarray, times_s: object) -> np.ndarray:
        self.looks += 1
        return pixels

    def segment(self, encoded: np.ndarray, rows: range, structures: object) -> object:
        hidden = not self.steady and self.looks % 2
        for row in rows:
            rows_px, columns_px = np.nonzero(encoded[row])
            near = np.hypot(*(np.mgrid[0:64, 0:64] - np.array([rows_px.mean(), columns_px.mean()])[:, None, None]))
            yield row, (near < 12).astype(np.float32)[None] * (0.0 if hidden else 1.0), np.ones(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_clip_folder(tmp_path / "own")
    return tmp_path / "own"


def test_a_teacher_that_is_steady_is_believed_and_one_that_is_not_is_not(folder: Path) -> None:
    record = next(iter(ClipFolder(folder).records()))
    kept = label_clip(record, Teacher(Bright()), [Structure.LV_CAVITY])  # type: ignore[arg-type]
    assert sorted(kept) == [0, 1, 2, 3] and kept[0].shape == (96, 96)
    assert set(np.unique(kept[0])) == {0, int(Structure.LV_CAVITY)}
    assert label_clip(record, Teacher(Bright(steady=False)), [Structure.LV_CAVITY]) == {}  # type: ignore[arg-type]


def test_chambers_are_whole_of_a_size_and_in_order() -> None:
    sector = np.ones((64, 64), bool)
    upper, lower = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    upper[10:30, 20:40], lower[35:50, 20:40] = True, True
    assert is_plausible(np.stack([upper, lower]), sector, BOTH, View.A4C)
    assert not is_plausible(np.stack([lower, upper]), sector, BOTH, View.A4C)
    assert is_plausible(np.stack([lower, upper]), sector, BOTH, View.PLAX)
    assert not is_plausible(np.stack([upper, np.zeros_like(lower)]), sector, BOTH, View.A4C)
    assert not is_plausible(np.stack([upper | np.roll(upper, 25, axis=1), lower]), sector, BOTH, View.A4C)


def test_the_table_names_what_was_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_labels, "TaskInterpreter", SimpleNamespace(load=lambda name: Bright()))
    out = tmp_path / "labelled"
    assert main(["--folder", str(folder), "--bundle", "any", "--structures", "lv_cavity", "--out", str(out)]) == 0
    with (out / "clips.csv").open(newline="", encoding="utf-8") as file:
        assert {row["outlined"] for row in csv.DictReader(file)} == {"lv_cavity"}
    record = next(iter(ClipFolder(out).records()))
    assert record.outlined == (Structure.LV_CAVITY,) and sorted(record.read_labels()) == [0, 1, 2, 3]
