"""Names burned into pixels around the fan never come out: not in the preview, the overlays, the tiles or a store.

A small sample runs by default; ``ECHOAPEX_ALL_CANARIES=1`` runs all 500 and says how many were tried and leaked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from pixel_canaries import Canary, Case, all_cases, draw_case, found_by_reading, found_by_template, write_case

from echoapex.data.ingest.plan import IngestRules
from echoapex.data.ingest.unit_work import read_clip_frames
from echoapex.domain import ViewPrediction
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.outputs.frame_picture import Placement, sector_box
from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer
from echoapex.io.clip_file import ClipFile, open_clip
from echoapex.io.study_files import find_clips
from echoapex.io.video import open_video
from echoapex.vocabulary import Structure, View

ALL = os.environ.get("ECHOAPEX_ALL_CANARIES") == "1"
CASES = all_cases() if ALL else [case for case in all_cases() if case.number % 13 == 0]
SHOWN = Case(7, "fan", (60, 255), "png")
SHEET, TILE, VIDEO = (250, 500), (500, 1000), (480, 640)


class PlaxModels:
    """A PLAX in every clip, no structure in it."""

    input_size = 64
    digests: ClassVar = {"plain": "0" * 64}

    def encode(self, pixels: np.ndarray, times_s: Sequence[float]) -> np.ndarray:
        return pixels

    def classify_view(self, _pixels: Any) -> ViewPrediction:
        return ViewPrediction({view: float(view is View.PLAX) for view in View})

    def segment(self, _pixels: Any, rows: Sequence[int], structures: Sequence[Structure]) -> Iterator[Any]:
        for row in rows:
            yield row, np.zeros((len(structures), 64, 64), np.float32), np.full(len(structures), 0.9)

    def find_wall_points(self, _pixels: Any, rows: Sequence[int]) -> list[Any]:
        return []


def _analyze(path: Path, out: Path, keep: bool = False) -> Path:
    options = AnalysisOptions(keep_identifiers=keep, max_segmented_frames=2)
    StudyAnalyzer(NamedInterpreter(PlaxModels(), "plain", "cpu"), options, raise_unexpected=True).run([path], out)
    return out


def _pictures(path: Path, out: Path, keep: bool = False) -> list[tuple[np.ndarray, float]]:
    """Every picture that came out, with the size of a native pixel in it."""
    (clip,) = find_clips([path])
    assert isinstance(clip, ClipFile)
    opened = open_clip(clip)
    header = opened.header
    opened.close()
    box = sector_box(None if keep else header.sector, header.size)
    pictures = [
        (np.asarray(Image.open(tile).convert("RGB")), Placement(box, TILE).scale) for tile in out.glob("clips/*.png")
    ]
    pictures.append((np.asarray(Image.open(out / "preview.png").convert("RGB")), Placement(box, SHEET).scale))
    for video in out.glob("overlays/*.mp4"):
        frames = list(open_video(video).frames())
        pictures.append((np.asarray(frames[len(frames) // 2]), Placement(box, VIDEO).scale))
    stored = read_clip_frames(clip, IngestRules(size=256), bytes(32))
    if stored.transform is not None and not keep:
        pictures += [(frame, float(stored.transform.matrix[0, 0])) for frame in stored.pixels[:1]]
    return pictures


def _leaks(canaries: list[Canary], pictures: list[tuple[np.ndarray, float]]) -> list[str]:
    return [c.words for c in canaries if any(found_by_template(c, picture, scale) for picture, scale in pictures)]


@pytest.fixture(scope="module")
def tally() -> Iterator[dict[str, int]]:
    counts = {"tried": 0, "leaked": 0, "shown fans": 0, "fans": 0}
    yield counts
    if ALL:
        print(f"\npixel canaries: {counts}")  # noqa: T201


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_canary_comes_out(case: Case, tmp_path: Path, tally: dict[str, int]) -> None:
    frames, canaries, fan = draw_case(case)
    path = write_case(case, frames, tmp_path)
    out = _analyze(path, tmp_path / "out")
    pictures = _pictures(path, out)

    leaked = _leaks(canaries, pictures)

    tally["tried"] += len(canaries)
    tally["leaked"] += len(leaked)
    if fan.any():
        tally["fans"] += 1
        tally["shown fans"] += any(True for _ in out.glob("clips/*.png"))
    else:
        assert not list(out.glob("overlays/*"))
    assert not leaked


def test_the_looking_finds_what_is_shown(tmp_path: Path) -> None:
    """With all pixels kept, the same looking finds the canaries: it can fail."""
    frames, canaries, _ = draw_case(SHOWN)
    path = write_case(SHOWN, frames, tmp_path)
    pictures = _pictures(path, _analyze(path, tmp_path / "out", keep=True), keep=True)

    assert len(_leaks(canaries, pictures)) == len(canaries)


READ_CASES = CASES[::3] if ALL else CASES[5:6]


@pytest.mark.parametrize("case", READ_CASES, ids=str)
def test_no_canary_can_be_read(case: Case, tmp_path: Path, reader: Any) -> None:
    frames, canaries, _ = draw_case(case)
    path = write_case(case, frames, tmp_path)

    texts = _read(reader, _pictures(path, _analyze(path, tmp_path / "out")))

    assert not [canary.words for canary in canaries if found_by_reading(canary, texts)]


def test_the_reading_reads_what_is_shown(tmp_path: Path, reader: Any) -> None:
    frames, canaries, _ = draw_case(SHOWN)
    path = write_case(SHOWN, frames, tmp_path)

    texts = _read(reader, _pictures(path, _analyze(path, tmp_path / "out", keep=True), keep=True))

    assert sum(found_by_reading(canary, texts) for canary in canaries) >= 4


@pytest.fixture(scope="module")
def reader() -> Any:
    module = pytest.importorskip("rapidocr", reason="rapidocr is not installed; it comes with the extra 'test'")
    return module.RapidOCR()


def _read(reader: Any, pictures: list[tuple[np.ndarray, float]]) -> list[str]:
    """The words in the largest picture and in the preview."""
    texts: list[str] = []
    for picture in {id(p): p for p, _ in (max(pictures, key=lambda item: item[0].size), pictures[-1])}.values():
        found = reader(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2))
        texts += list(found.txts or ())
    return texts
