"""How well ``echoapex deidentify`` removes what names a patient, measured, beside dicom-anonymizer.

    python benchmarks/deidentification.py [--part table leaks burned-in strokes simulated] [--names 40] [--out FILE]

``table``: every attribute of PS3.15 table E.1-1, alone in an ultrasound header: what EchoApex and dicom-anonymizer do.
``leaks``: a header with canaries everywhere: which of them each of the two leaves.
``burned-in``: the two clips of deid-data, whose names are fictitious: text found and removed, tissue blanked.
``strokes``: one name in single pictures of fans, drawn and simulated: read in the picture itself, and in its strokes.
``simulated``: invented names written into the fan of simulated clips, still and moving, bright and faint.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from drawn_studies import draw_sector
from header_canaries import MARKS, canary_value, plant
from synthetic_dicom import build_dataset, region, write_native

from echoapex.io.clip_source import ReadError, ReadLimits
from echoapex.io.deidentification.header import clean_header
from echoapex.io.deidentification.instance import Method, clean_instance
from echoapex.io.deidentification.profile import Profile, listed_tags, rule_of
from echoapex.io.deidentification.project_key import ProjectKey
from echoapex.io.deidentification.text_search import RapidTextReader, strokes, text_mask
from echoapex.io.dicom.reader import open_dicom
from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View

KEY = ProjectKey(bytes(range(32)))
EDITION = "dicomfields_2026c"
PARTS = ("table", "leaks", "burned-in", "strokes", "simulated")
BURNED_IN = {
    "GREYSCALE_CINE": ("ZZZ TEST PATIENT", "00079241539", "08/29/1951", "CCHS", "CLEVEL", "03/02/2017", "05:24:54"),
    "RGB_CINE": (
        "TEST, ADL",
        "0001128201",
        "01/30/1986",
        "AGMC Sports Medicine",
        "7-OCT-2016",
        "01:07:45",
        "rt hip inj",
    ),
}
"""What the clips of deid-data show of a (fictitious) person, a place and a time."""
LEVELS = (255, 200, 150)
SCALES = (0.4, 0.6, 0.9)
SURNAMES = ("QUARTZ", "FELDSPAR", "BASALT", "GRANITE", "OLIVINE", "GYPSUM", "TOPAZ", "BERYL", "GARNET", "ONYX")


def table_part(step: int = 1) -> dict[str, Any]:
    """What becomes of each attribute of the table (or of every ``step``-th), by either program."""
    pairs: Counter[tuple[str, str, str]] = Counter()
    left: dict[str, list[str]] = {"echoapex": [], "dicom-anonymizer": []}
    tried = 0
    for tag in listed_tags()[::step]:
        keyword = keyword_for_tag(tag)
        if not keyword or tag >> 16 < 0x0008:
            continue
        vr = str(dictionary_VR(tag)).split(" or ", 1)[0]
        value = [Dataset()] if vr == "SQ" else canary_value(vr, 1)
        value = (
            {"FD": 7331.5, "FL": 7331.5, "US": 7331, "UL": 7331, "SL": 7331, "SS": 7331}.get(vr)
            if value is None
            else value
        )
        if value is None:
            continue
        if vr == "SQ":
            value[0].CodeValue, value[0].CodeMeaning = "QZCANARY", "QZCANARY meaning"
        tried += 1
        found = {}
        for program, act in (("echoapex", ours), ("dicom-anonymizer", theirs)):
            dataset = header()
            dataset.add_new(tag, vr, value)
            before = dataset[tag].to_json()
            result = act(dataset)
            found[program] = outcome(result, tag, before)
            if found[program] == "unchanged" or any(mark.search(encoded(result)) for mark in MARKS):
                left[program].append(keyword)
        rule = rule_of(tag)
        pairs[rule.basic if rule else "", found["echoapex"], found["dicom-anonymizer"]] += 1
    rows = [
        {"action": action, "echoapex": one, "dicom-anonymizer": other, "attributes": count}
        for (action, one, other), count in sorted(pairs.items())
    ]
    same = sum(row["attributes"] for row in rows if row["echoapex"] == row["dicom-anonymizer"])
    return {"attributes": tried, "same_outcome": same, "left_unchanged": left, "outcomes": rows}


def leaks_part() -> dict[str, Any]:
    """Canaries that are left in a header that is full of them."""
    found: dict[str, Any] = {}
    for program, act in (("echoapex", ours), ("dicom-anonymizer", theirs)):
        dataset = header()
        planted = plant(dataset)
        result = act(dataset)
        found["planted"] = planted
        found[program] = {"elements_with_a_canary": len(list(with_canary(result))), "where": where(result)}
    return found


def burned_in_part() -> list[dict[str, Any]]:
    """Text of the clips of deid-data before and after."""
    rows = []
    reader = RapidTextReader()
    with tempfile.TemporaryDirectory() as place:
        for name, wanted in BURNED_IN.items():
            path = unpacked(name, Path(place))
            before = readable(path, wanted)
            started = time.process_time()
            dataset, done, _ = clean_instance(path, name, method(reader))
            seconds = time.process_time() - started
            target = Path(place) / "result.dcm"
            dataset.save_as(target, enforce_file_format=True)
            after = readable(target, wanted)
            rows.append(
                {
                    "clip": name,
                    "strings": len(wanted),
                    "read_before": before,
                    "read_after": after,
                    "texts_seen_in_source": done.pixels.texts_in_source,
                    "texts_blanked_in_kept_area": len(done.pixels.texts or ()),
                    "kept_percent": round(100 * float(done.pixels.kept.mean()), 2),
                    "tissue_blanked_percent": done.pixels.tissue_blanked_percent,
                    "frames": len(done.pixels.frames),
                    "processor_seconds": round(seconds, 1),
                }
            )
    return rows


def strokes_part() -> dict[str, int]:
    """How many names are found when the recogniser reads a picture, and when it reads its strokes."""
    reader = RapidTextReader()
    fans = [np.minimum(draw_sector((480, 640), 1, seed)[0], 190) for seed in (0, 2)]
    for seed in (1_000_400, 1_000_401):
        fans.append(enlarged(simulate_clip(View.A4C, seed, frames=1, label_frames="none").frames)[0])
    found: Counter[str] = Counter()
    for fan in fans:
        for level in LEVELS:
            for scale in SCALES:
                picture = fan.copy()
                (width, height), _ = cv2.getTextSize("BASALT 1956", 0, scale, 1)
                cv2.putText(picture, "BASALT 1956", (250, 300), 0, scale, level, 1 if scale < 0.8 else 2, cv2.LINE_AA)
                box = np.zeros(picture.shape, bool)
                box[300 - height : 300, 250 : 250 + width] = True
                found["names"] += 1
                for way, grey in (("in the picture", picture), ("in its strokes", strokes(picture))):
                    found[way] += bool(text_mask(reader.read_grey(grey), picture.shape)[box].mean() > 0.7)
    return dict(found)


def simulated_part(names: int) -> dict[str, Any]:
    """Names inside the fan of simulated clips: how many are still there, and how much tissue their removal costs."""
    reader = RapidTextReader()
    rows: dict[tuple[int, float, str], list[tuple[str, float]]] = {}
    clean: list[float] = []
    cases = [(level, scale, motion) for level in LEVELS for scale in SCALES for motion in ("every frame", "one frame")]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "a.dcm"
        for number in range(names):
            frames = enlarged(simulate_clip(View.A4C, 1_000_400 + number, frames=8, label_frames="none").frames)
            if number < 10:
                write(path, frames)
                clean.append(clean_instance(path, "a", method(reader))[1].pixels.tissue_blanked_percent)
            case = cases[number % len(cases)]
            spot = put_name(frames, number, *case)
            write(path, frames)
            rows.setdefault(case, []).append(name_left(path, spot, reader))
    found = [
        {
            "level": level,
            "letter_scale": scale,
            "shown_in": motion,
            **Counter(became for became, _ in results),
            "tissue_blanked_percent": round(float(np.mean([share for _, share in results])), 2),
        }
        for (level, scale, motion), results in sorted(rows.items())
    ]
    total = Counter(became for results in rows.values() for became, _ in results)
    without = {"clips": len(clean), "mean": round(float(np.mean(clean or [0])), 3), "largest": max(clean, default=0.0)}
    return {"total": total, "names": found, "blanked_percent_without_names": without}


def name_left(path: Path, spot: tuple[int, int, int, int], reader: RapidTextReader) -> tuple[str, float]:
    """What became of a name, and the percentage of tissue that was blanked."""
    try:
        dataset, done, _ = clean_instance(path, "a", method(reader))
    except ReadError:
        return "refused", 0.0
    x0, y0, x1, y1 = spot
    left = dataset.pixel_array[:, y0:y1, x0:x1].any(axis=0).mean()
    became = "removed" if left == 0 else "left" if left > 0.2 else "removed but for an edge"
    return became, done.pixels.tissue_blanked_percent


def method(reader: RapidTextReader) -> Method:
    return Method(Profile(), KEY, reader, ReadLimits())


def header() -> Dataset:
    return build_dataset(
        np.zeros((2, 20, 30), np.uint8), "MONOCHROME2", SequenceOfUltrasoundRegions=[region((0, 0, 9, 9))]
    )


def ours(dataset: Dataset) -> Dataset:
    return clean_header(dataset, Profile(), KEY, "0" * 64).dataset


def theirs(dataset: Dataset) -> Dataset:
    from dicomanonymizer.simpledicomanonymizer import anonymize_dataset

    anonymize_dataset(dataset, base_rules_gen=lambda: dict(their_rules()))
    return dataset


@cache
def their_rules() -> dict[Any, Any]:
    from dicomanonymizer.simpledicomanonymizer import initialize_actions

    rules: dict[Any, Any] = initialize_actions(EDITION)
    return rules


def outcome(result: Dataset, tag: int, before: str) -> str:
    if tag not in result:
        return "removed"
    if result[tag].to_json() == before:
        return "unchanged"
    return "emptied" if result[tag].is_empty else "replaced"


def encoded(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, implicit_vr=False, little_endian=True)
    return stream.getvalue()


def with_canary(dataset: Dataset, path: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    """The place of every element with a canary."""
    for element in dataset:
        name = element.keyword or ("private" if element.tag.is_private else str(element.tag))
        if element.VR == "SQ":
            for item in element.value:
                yield from with_canary(item, (*path, name))
        else:
            content = element.value if isinstance(element.value, bytes) else str(element.value).encode()
            if any(mark.search(content) for mark in MARKS):
                yield (*path, name)


def where(dataset: Dataset) -> dict[str, int]:
    """How many canaries are at the top and inside sequences."""
    places = [("top" if len(path) == 1 else "nested") for path in with_canary(dataset)]
    return dict(Counter(places))


def unpacked(name: str, folder: Path) -> Path:
    spec = find_spec("deid_data")
    if spec is None or spec.origin is None:
        raise SystemExit("deid-data is not installed; pip install deid-data")
    archive = Path(spec.origin).parent / "data" / "ultrasounds" / f"{name}.zip"
    with zipfile.ZipFile(archive) as packed:
        return Path(packed.extract(packed.namelist()[0], folder))


def readable(path: Path, wanted: Sequence[str]) -> int:
    """How many of some strings an optical reader finds in the first, a middle and the last frame."""
    import rapidocr

    engine = rapidocr.RapidOCR(params={"Global.log_level": "critical"})
    frames = list(open_dicom(path).frames())
    read = ""
    for frame in (frames[0], frames[len(frames) // 2], frames[-1]):
        colour = frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
        result = engine(np.ascontiguousarray(colour[..., ::-1]))
        read += "\n" + squeezed(" ".join(result.txts or ()))
    return sum(squeezed(text) in read for text in wanted)


def squeezed(text: str) -> str:
    return "".join(letter for letter in text.upper() if letter.isalnum())


def enlarged(frames: np.ndarray) -> np.ndarray:
    """A simulated clip on a screen of 480 x 640."""
    screen = np.zeros((len(frames), 480, 640), np.uint8)
    for target, frame in zip(screen, frames, strict=True):
        target[16:464, 96:544] = cv2.resize(frame, (448, 448), interpolation=cv2.INTER_LINEAR)
    return screen


def put_name(frames: np.ndarray, number: int, level: int, scale: float, motion: str) -> tuple[int, int, int, int]:
    """Write a name near the middle of the fan; its box."""
    rng = np.random.default_rng(number)
    text = f"{SURNAMES[number % len(SURNAMES)]} {rng.integers(1920, 2010)}"
    (width, height), below = cv2.getTextSize(text, 0, scale, 1)
    x, y = int(rng.integers(250, 390 - width // 2) - width // 4), int(rng.integers(180, 380))
    chosen = frames if motion == "every frame" else frames[3:4]
    for frame in chosen:
        cv2.putText(frame, text, (x, y), 0, scale, level, 1 if scale < 0.8 else 2, cv2.LINE_AA)
    return (x, y - height, x + width, y + below)


def write(path: Path, frames: np.ndarray) -> None:
    write_native(path, frames, "MONOCHROME2", SequenceOfUltrasoundRegions=[region((96, 16, 543, 463))])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--names", type=int, default=36, help="names of the part 'simulated'")
    parser.add_argument("--out", type=Path, help="also write the figures to this file")
    chosen = parser.parse_args(arguments)
    run = {
        "table": table_part,
        "leaks": leaks_part,
        "burned-in": burned_in_part,
        "strokes": strokes_part,
        "simulated": lambda: simulated_part(chosen.names),
    }
    figures = {part: run[part]() for part in chosen.part}
    text = json.dumps(figures, indent=1) + "\n"
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
