"""``errors.csv``: one line for every file that could not be analysed: what is wrong, and what to do."""

from __future__ import annotations

from pathlib import Path

from echoapex.domain import StudyReport
from echoapex.infer.outputs.measurements_csv import table_bytes
from echoapex.io.atomic_file import write_bytes_atomically

FILE_NAME = "errors.csv"
COLUMNS = ("file", "reason", "remedy")


def write_errors(out: Path, report: StudyReport) -> Path:
    """Write the errors; the header alone where there are none."""
    rows = ({name: " ".join(row[name].split()) for name in COLUMNS} for row in report.errors)
    return write_bytes_atomically(out / FILE_NAME, table_bytes(COLUMNS, rows))
