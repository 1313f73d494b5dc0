"""``measurements.csv``: every value on one line, for spreadsheets and statistics."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from echoapex.domain import ClipReport, Measurement, StudyReport
from echoapex.io.atomic_file import write_bytes_atomically

FILE_NAME = "measurements.csv"
COLUMNS = (
    "level",
    "study",
    "clip_id",
    "file",
    "view",
    "quantity",
    "name",
    "value",
    "unit",
    "interval_low",
    "interval_high",
    "method",
    "confidence",
    "flags",
    "frames",
)


def write_measurements(out: Path, report: StudyReport) -> Path:
    """Write the values of the study, then those of each clip."""
    return write_bytes_atomically(out / FILE_NAME, table_bytes(COLUMNS, _rows(report)))


def table_bytes(columns: tuple[str, ...], rows: Iterable[Mapping[str, object]]) -> bytes:
    """A CSV table in UTF-8 with CRLF line ends (RFC 4180); text that a spreadsheet would run is quoted away."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _harmless(value) for name, value in row.items()})
    return buffer.getvalue().encode()


def _harmless(value: object) -> object:
    """A leading =, +, - or @ makes spreadsheets run a cell as a formula; a quote keeps it text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def _rows(report: StudyReport) -> Iterator[dict[str, object]]:
    clips = {clip.clip_id: clip for clip in report.clips}
    for measurement in report.measurements:
        sources = list(dict.fromkeys(item.clip_id for item in measurement.evidence))
        yield {
            "level": "study",
            "study": measurement.details.get("study", ""),
            "clip_id": " ".join(sources),
            "file": "; ".join(clips[name].file for name in sources if name in clips),
            **_value(measurement),
        }
    for clip in report.clips:
        for measurement in clip.measurements:
            yield {"level": "clip", **_clip(clip), **_value(measurement)}


def _clip(clip: ClipReport) -> dict[str, object]:
    return {"clip_id": clip.clip_id, "file": clip.file, "view": clip.view.value if clip.view else ""}


def _value(measurement: Measurement) -> dict[str, object]:
    low, high = measurement.interval or (None, None)
    frames = sorted({frame for item in measurement.evidence for frame in item.frames})
    return {
        "quantity": measurement.quantity.value,
        "name": measurement.quantity.display_name,
        "value": _number(measurement.value),
        "unit": measurement.unit,
        "interval_low": _number(low),
        "interval_high": _number(high),
        "method": measurement.method,
        "confidence": _number(measurement.confidence),
        "flags": " ".join(flag.value for flag in measurement.flags),
        "frames": " ".join(map(str, frames)) if len(measurement.evidence) == 1 else "",
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
