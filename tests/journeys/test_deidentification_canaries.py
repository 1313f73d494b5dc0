"""Nothing that names a patient comes out of ``echoapex deidentify``: not in files, names, logs, errors or caches.

A sample runs by default; ``ECHOAPEX_ALL_CANARIES=1`` runs all and says how many were tried and leaked.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from deidentified import BrightBoxReader, method, write_fan
from drawn_studies import draw_sector
from header_canaries import MARK, MARKS, canaries_in, plant, write_planted
from pixel_canaries import Case, all_cases, draw_case, found_by_template, write_case
from pydicom import dcmread
from synthetic_dicom import region, write_native

from echoapex.cli import run
from echoapex.io.clip_source import ReadError
from echoapex.io.deidentification import text_search
from echoapex.io.deidentification.instance import clean_instance, write_instance
from echoapex.io.dicom.reader import open_dicom

ALL = os.environ.get("ECHOAPEX_ALL_CANARIES") == "1"
BURNED = [case for case in all_cases() if case.kind.endswith(".dcm")]
BURNED = BURNED if ALL else BURNED[::5]
DAMAGED = 240 if ALL else 12
NAMES = 40 if ALL else 2


@pytest.fixture(scope="module")
def tally() -> Iterator[dict[str, int]]:
    counts = {"tried": 0, "leaked": 0, "files": 0, "refused": 0}
    yield counts
    if ALL:
        print(f"\ncanaries of de-identification: {counts}")  # noqa: T201


@pytest.mark.parametrize("case", BURNED, ids=str)
def test_no_burned_in_canary_comes_out_even_if_no_text_is_found(
    case: Case, tmp_path: Path, tally: dict[str, int]
) -> None:
    frames, canaries, fan = draw_case(case)
    path = write_case(case, frames, tmp_path)
    assert all(found_by_template(canary, next(iter(open_dicom(path).frames())), 1.0) for canary in canaries)
    how = method(reader=BrightBoxReader(level=-1))
    tally["tried"] += len(canaries)
    tally["files"] += 1
    try:
        dataset, done, _ = clean_instance(path, "a.dcm", how)
    except ReadError:
        assert not fan.any()
        tally["refused"] += 1
        return
    write_instance(tmp_path / "new.dcm", dataset, done, how.limits)

    pictures = list(open_dicom(tmp_path / "new.dcm").frames())

    leaked = [c.words for c in canaries if any(found_by_template(c, picture, 1.0) for picture in pictures)]
    tally["leaked"] += len(leaked)
    assert not leaked
    assert (done.pixels.kept & fan).sum() > 0.9 * fan.sum()


@pytest.mark.parametrize("number", range(NAMES))
def test_a_name_inside_the_fan_is_found_and_blanked(number: int, tmp_path: Path, tally: dict[str, int]) -> None:
    pytest.importorskip("rapidocr", reason="rapidocr is not installed; it comes with the extra 'deidentify'")
    rng = np.random.default_rng(number)
    frames = np.minimum(draw_sector((480, 640), 3, number), 190)
    words, scale = f"{MARK[:6]} {rng.integers(1900, 2020)}", float(rng.uniform(0.6, 1.0))
    (width, height), below = cv2.getTextSize(words, 0, scale, 2)
    x, y = int(rng.integers(200, 430 - width)), int(rng.integers(250, 400))
    for frame in frames if number % 2 else frames[1:2]:
        cv2.putText(frame, words, (x, y), 0, scale, 255, 2, cv2.LINE_AA)
    path = write_native(
        tmp_path / "a.dcm", frames, "MONOCHROME2", SequenceOfUltrasoundRegions=[region((0, 0, 639, 479))]
    )

    dataset, done, _ = clean_instance(path, "a.dcm", method(reader=text_search.RapidTextReader()))

    tally["tried"] += 1
    left = dataset.pixel_array[:, y - height : y + below, x : x + width]
    tally["leaked"] += bool((left == 255).any())
    assert not (left == 255).any()
    blanked = (done.area.tissue & ~done.pixels.kept).sum()
    assert width * height <= blanked < 4 * width * (height + below)


def test_damaged_files_full_of_canaries_give_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Cut short, or with bytes changed: every message, log and temporary file is looked through."""
    caches = tmp_path / "caches"
    caches.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(caches))
    monkeypatch.setattr(text_search, "RapidTextReader", BrightBoxReader)
    caplog.set_level(logging.DEBUG)
    dataset = dcmread(write_fan(tmp_path / "plain.dcm"))
    plant(dataset)
    whole = write_planted(tmp_path / "planted.dcm", dataset).read_bytes()
    archive = tmp_path / f"{MARK}^JANE"
    archive.mkdir()
    rng = np.random.default_rng(5)
    for number in range(DAMAGED):
        content = bytearray(whole)
        if number % 3 == 0:
            content = content[: int(rng.integers(140, len(content)))]
        else:
            for place in rng.integers(128, len(content) if number % 3 == 1 else 60_000, size=12):
                content[place] = int(rng.integers(0, 256))
        (archive / f"{MARK} {number}.dcm").write_bytes(content)

    code = run(["deidentify", str(archive), "--out", str(tmp_path / "out"), "--key", str(tmp_path / "a.key")])

    assert code in (0, 3, 4)
    assert (tmp_path / "out" / "proof.json").is_file()
    assert canaries_in(tmp_path / "out") == []
    assert canaries_in(caches) == []
    said = capfd.readouterr()
    everything = (said.out + said.err + caplog.text).encode()
    assert not [mark.pattern for mark in MARKS if mark.search(everything)]
    assert b"Traceback" not in everything
