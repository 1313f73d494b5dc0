"""The proof of a de-identification: what was removed, kept and why, file by file, as JSON and as a page to read.

The proof leaves the house together with the files, so it holds nothing of the source: no value, no path, no word that
was found in the pixels. Attributes are called by their names in the standard. A picture shows the result; blanked
parts are grey, in squares too coarse for letters where the source showed something, and red where text was found in
the ultrasound.
"""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from echoapex.config import Config
from echoapex.io.deidentification.instance import CleanedInstance
from echoapex.io.deidentification.pixels import CleanedPixels
from echoapex.io.deidentification.text_search import text_mask
from echoapex.io.temporary_files import write_bytes_atomically

JSON_FILE = "proof.json"
PAGE_FILE = "proof.html"
RECORD_FOLDER = "records"

_THUMBNAIL_PX = 320
_BLANKED, _HAD_CONTENT, _TEXT = (40, 40, 40), (105, 105, 105), (190, 40, 40)

NOTICE = (
    "This proof holds no value of the source files. It describes what a program did; it does not replace the review "
    "that your rules require. Text that the recogniser cannot read (handwriting, tiny or faint) may stay in the "
    "ultrasound itself."
)


class FoundPlace(Config):
    """Where text was found and blanked: left, top, width and height in pixels, and the confidence."""

    left: int
    top: int
    width: int
    height: int
    confidence: float


class PixelProof(Config):
    """What happened to the pixels of one file."""

    frames: int
    height: int
    width: int
    source_transfer_syntax: str
    source_photometric: str
    kept_areas: dict[str, int]
    kept_percent: float
    text_searched: bool
    searches: int
    texts_seen_in_source: int
    texts_blanked_in_kept_area: list[FoundPlace]
    tissue_blanked_percent: float


class FileRecord(Config):
    """Proof of one file; ``header`` is outcome, attribute, count. ``settings`` is a digest of how it was made."""

    file: str
    settings: str
    header: dict[str, dict[str, int]]
    pixels: PixelProof
    identifying_values_sought: int
    picture_png: str


class RefusedFile(Config):
    """A file that was not written: its keyed name, the reason, and what to do."""

    file: str
    reason: str
    remedy: str


class RunSettings(Config):
    """How a run was made, in words and codes of the standard."""

    software: str
    standard: str
    profile: str
    options: list[str]
    method_codes: dict[str, str]
    longitudinal_information: str
    text_search: str


class Proof(Config):
    """Content of ``proof.json``."""

    schema_version: str = "1.0"
    notice: str = NOTICE
    complete: bool
    settings: RunSettings
    files: list[FileRecord]
    refused: list[RefusedFile]


def record_of(file: str, settings: str, done: CleanedInstance) -> FileRecord:
    """The proof of one file that was written."""
    pixels = done.pixels
    places = [
        FoundPlace(left=x0, top=y0, width=x1 - x0, height=y1 - y0, confidence=text.score)
        for text in pixels.texts or ()
        for x0, y0, x1, y1 in (text.box_xyxy,)
    ]
    return FileRecord(
        file=file,
        settings=settings,
        header={outcome: dict(sorted(names.items())) for outcome, names in sorted(done.header.record.outcomes.items())},
        pixels=PixelProof(
            frames=len(pixels.frames),
            height=pixels.size[0],
            width=pixels.size[1],
            source_transfer_syntax=done.source_syntax,
            source_photometric=done.source_photometric,
            kept_areas=dict(Counter(done.area.parts)),
            kept_percent=round(100 * float(pixels.kept.mean()), 2),
            text_searched=pixels.texts is not None,
            searches=pixels.searches,
            texts_seen_in_source=pixels.texts_in_source,
            texts_blanked_in_kept_area=places,
            tissue_blanked_percent=pixels.tissue_blanked_percent,
        ),
        identifying_values_sought=len(done.sought),
        picture_png=base64.b64encode(_thumbnail(pixels)).decode("ascii"),
    )


def write_record(out: Path, name: str, record: FileRecord) -> Path:
    """Write the record of one file; it is written after the file, so that it stands for a whole one."""
    return write_bytes_atomically(
        out / RECORD_FOLDER / f"{name}.json", (record.model_dump_json(indent=1) + "\n").encode()
    )


def read_record(out: Path, name: str) -> FileRecord | None:
    """The record of a file of an earlier run; None if there is none, or it cannot be read."""
    try:
        return FileRecord.model_validate_json((out / RECORD_FOLDER / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return None


def read_records(out: Path) -> list[FileRecord]:
    """The records of all files that are there, in the order of their names."""
    names = sorted(path.stem for path in (out / RECORD_FOLDER).glob("*.json"))
    found = [record for name in names if (record := read_record(out, name)) is not None]
    return sorted((record for record in found if (out / record.file).is_file()), key=lambda record: record.file)


def write_proof(out: Path, proof: Proof) -> None:
    """Write ``proof.json`` and ``proof.html``."""
    write_bytes_atomically(out / JSON_FILE, (proof.model_dump_json(indent=1) + "\n").encode())
    write_bytes_atomically(out / PAGE_FILE, _page(proof).encode())


def _thumbnail(pixels: CleanedPixels) -> bytes:
    """A small PNG of the result with the blanked parts marked."""
    picture = pixels.picture if pixels.picture.ndim == 3 else np.dstack([pixels.picture] * 3)
    marked = _marked(picture, pixels)
    scale = _THUMBNAIL_PX / max(marked.shape[:2])
    if scale < 1:
        size = (max(1, round(marked.shape[1] * scale)), max(1, round(marked.shape[0] * scale)))
        marked = cv2.resize(marked, size, interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".png", marked[..., ::-1])[1].tobytes())


def _marked(picture: UInt8[np.ndarray, "h w 3"], pixels: CleanedPixels) -> UInt8[np.ndarray, "h w 3"]:
    marked = picture.copy()
    marked[~pixels.kept] = _BLANKED
    marked[pixels.had_content] = _HAD_CONTENT
    marked[text_mask(pixels.texts or (), pixels.size) & ~pixels.kept] = _TEXT
    return marked


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:68rem;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;margin:.6rem 0}
td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left;vertical-align:top}th{background:#f3f3f3}
.file{display:flex;gap:1.2rem;border-top:1px solid #ccc;padding:1rem 0;flex-wrap:wrap}
.file img{width:20rem;height:auto;align-self:flex-start}.file div{flex:1 1
24rem}.code{font-family:monospace;font-size:13px} .key i{display:inline-block;width:1em;height:1em;margin:0 .3em 0
1em;vertical-align:-.1em;border:1px solid #888} .warn{background:#fff3d6;padding:.5rem .8rem}details{margin:.3rem 0}
"""


def _page(proof: Proof) -> str:
    """The page to read; it needs no other file and no network."""
    settings = proof.settings
    rows = {
        "software": settings.software,
        "standard": settings.standard,
        "profile": settings.profile,
        "options": ", ".join(settings.options) or "none",
        "method codes (0012,0064)": "; ".join(f"{code} {text}" for code, text in settings.method_codes.items()),
        "dates": settings.longitudinal_information.lower(),
        "burned-in text": settings.text_search,
        "files written": str(len(proof.files)),
        "files refused": str(len(proof.refused)),
        "frames": str(sum(record.pixels.frames for record in proof.files)),
    }
    unfinished = "" if proof.complete else '<p class="warn">The run was interrupted: this proof is not complete.</p>'
    refused = [(item.file, item.reason, item.remedy) for item in proof.refused]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Proof of de-identification</title>',
        f"<style>{_STYLE}</style></head><body><h1>Proof of de-identification</h1>{unfinished}",
        f"<p>{html.escape(proof.notice)}</p>",
        _table(("", ""), rows.items()),
        "<h2>Header: what happened, over all files</h2>",
        _table(("outcome", "attributes (number of elements)"), _totals(proof.files).items()),
        _table(("refused file", "reason", "what to do"), refused) if refused else "",
        "<h2>Files</h2>" + _legend() if proof.files else "",
        *(_file(record) for record in proof.files),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _legend() -> str:
    colours = {"blanked": _BLANKED, "blanked, the source showed something here": _HAD_CONTENT}
    colours["text found in the ultrasound and blanked"] = _TEXT
    marks = (f'<i style="background:rgb{colour}"></i>{name}' for name, colour in colours.items())
    return f'<p class="key">{"".join(marks)}</p>'


def _file(record: FileRecord) -> str:
    pixels = record.pixels
    texts = pixels.texts_blanked_in_kept_area
    searched = f"{pixels.texts_seen_in_source} seen in the source, {len(texts)} of them inside the kept area, blanked"
    rows = {
        "frames": f"{pixels.frames} of {pixels.width} x {pixels.height}",
        "source pixels": f"{pixels.source_transfer_syntax}, {pixels.source_photometric}",
        "kept": f"{_counts(pixels.kept_areas)}: {pixels.kept_percent} % of the picture",
        "texts": searched if pixels.text_searched else "not searched",
        "ultrasound blanked for text": f"{pixels.tissue_blanked_percent} %",
        "check": f"{record.identifying_values_sought} values of the source sought in the result, none found; "
        "all pixels read again",
    }
    places = [(f"{place.left}, {place.top}", f"{place.width} x {place.height}", place.confidence) for place in texts]
    shown = _table(("left, top", "size", "confidence"), places) if places else ""
    outcomes = {outcome: _counts(names) for outcome, names in record.header.items()}
    return (
        f'<div class="file"><img alt="result, blanked parts marked" src="data:image/png;base64,{record.picture_png}">'
        f'<div><p class="code">{html.escape(record.file)}</p>{_table(("", ""), rows.items())}{shown}'
        f"<details><summary>header</summary>{_table(('outcome', 'attributes'), outcomes.items())}</details></div></div>"
    )


def _totals(records: Iterable[FileRecord]) -> dict[str, str]:
    totals: dict[str, Counter[str]] = {}
    for record in records:
        for outcome, names in record.header.items():
            totals.setdefault(outcome, Counter()).update(names)
    return {outcome: _counts(dict(sorted(names.items()))) for outcome, names in sorted(totals.items())}


def _counts(names: Mapping[str, int]) -> str:
    return ", ".join(name if count == 1 else f"{name} ({count})" for name, count in names.items())


def _table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head) if any(head) else ""
    lines = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table>{f'<tr>{titles}</tr>' if titles else ''}{body}</table>"
