"""``cohort.csv`` and ``cohort.parquet``: one row for each value of each study, with limits, category and LOINC code.

Tables of several runs can be put under one another: a row says by itself which study, software and weights it is from.
A quantity without a value has a row too, with the reason: it was looked for and not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from echoapex.domain.reported_study import GradedValue, ReportedStudy
from echoapex.infer.outputs.files import number_cell, table_bytes
from echoapex.io.temporary_files import replace_when_complete, write_bytes_atomically

CSV_FILE, PARQUET_FILE = "cohort.csv", "cohort.parquet"
_TEXT, _NUMBER = "text", "number"
COLUMNS = {
    "study": _TEXT,
    "sex": _TEXT,
    "quantity": _TEXT,
    "name": _TEXT,
    "value": _NUMBER,
    "unit": _TEXT,
    "interval_low": _NUMBER,
    "interval_high": _NUMBER,
    "method": _TEXT,
    "confidence": _NUMBER,
    "flags": _TEXT,
    "normal_low": _NUMBER,
    "normal_high": _NUMBER,
    "normal_for": _TEXT,
    "category": _TEXT,
    "guideline": _TEXT,
    "code_system": _TEXT,
    "code": _TEXT,
    "code_meaning": _TEXT,
    "view": _TEXT,
    "clips": _TEXT,
    "not_measured_because": _TEXT,
    "bundle": _TEXT,
    "weights_sha256": _TEXT,
    "echoapex_version": _TEXT,
}
"""The columns and what they hold. ``code`` is a LOINC code; it is empty where none has exactly this meaning."""
LOINC_SYSTEM = "http://loinc.org"


class CohortTableError(ValueError):
    """A table that cannot be written; the message says what to do."""


def require_parquet() -> None:
    """Refuse to start where Parquet cannot be written.

    Raises:
        CohortTableError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise CohortTableError("a Parquet table needs pyarrow: pip install 'echoapex[parquet]'")


def cohort_rows(studies: Sequence[ReportedStudy]) -> Iterator[dict[str, object]]:
    """The rows of a table; what is not known is None."""
    for study in studies:
        weights = "\n".join(f"{item.name} {item.sha256}" for item in study.weights)
        about: dict[str, object] = {
            "study": study.digest,
            "sex": study.sex,
            "bundle": study.bundle,
            "weights_sha256": hashlib.sha256(weights.encode()).hexdigest(),
            "echoapex_version": study.version,
        }
        for value in study.values:
            yield about | _row_of(value)
        for missing in study.missing:
            quantity = missing.quantity
            yield about | {
                "quantity": quantity.value,
                "name": quantity.display_name,
                "unit": quantity.unit,
                "not_measured_because": missing.reason,
            }


def _row_of(value: GradedValue) -> dict[str, object]:
    measurement = value.measurement
    low, high = measurement.interval or (None, None)
    limits = value.limits[0] if len(value.limits) == 1 else None
    return {
        "quantity": value.quantity.value,
        "name": value.quantity.display_name,
        "value": measurement.value,
        "unit": measurement.unit,
        "interval_low": low,
        "interval_high": high,
        "method": measurement.method,
        "confidence": measurement.confidence,
        "flags": " ".join(flag.value for flag in measurement.flags) or None,
        "normal_low": limits.low if limits else None,
        "normal_high": limits.high if limits else None,
        "normal_for": limits.applies_to if limits else None,
        "category": value.category or None,
        "guideline": value.source or None,
        "code_system": LOINC_SYSTEM if value.loinc else None,
        "code": value.loinc.value if value.loinc else None,
        "code_meaning": value.loinc.meaning if value.loinc else None,
        "view": value.view.value if value.view else None,
        "clips": " ".join(dict.fromkeys(item.clip_id for item in measurement.evidence)) or None,
    }


def write_cohort_csv(out: Path, studies: Sequence[ReportedStudy]) -> Path:
    """Write the table as CSV: UTF-8, comma, CRLF, numbers with six digits, empty cells for what is not known."""
    rows = (
        {name: number_cell(row.get(name)) if kind == _NUMBER else row.get(name) or "" for name, kind in COLUMNS.items()}
        for row in cohort_rows(studies)
    )
    return write_bytes_atomically(out / CSV_FILE, table_bytes(tuple(COLUMNS), rows))


def write_cohort_parquet(out: Path, studies: Sequence[ReportedStudy]) -> Path:
    """Write the table as Parquet: numbers as float64 in full precision, nulls for what is not known.

    Raises:
        CohortTableError: pyarrow is not installed.
    """
    require_parquet()
    import pyarrow
    from pyarrow import parquet

    kinds = {_TEXT: pyarrow.string(), _NUMBER: pyarrow.float64()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    rows = [{name: row.get(name) for name in COLUMNS} for row in cohort_rows(studies)]
    path = out / PARQUET_FILE
    with replace_when_complete(path) as partial:
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), partial)
    return path
