"""What a verifier finds, as sets of the names of its checks, and edits that plant defects in tables."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from echoapex.data.datasets import Inspection, Severity


def inspected(verifier: Callable[[Inspection], None], root: Path) -> Inspection:
    """A finished run that opened every file."""
    inspection = Inspection(root, every_file=True)
    verifier(inspection)
    return inspection


def checks(verifier: Callable[[Inspection], None], root: Path) -> set[str]:
    """The names of the checks that found an error or a warning."""
    findings = inspected(verifier, root).findings
    return {finding.check for finding in findings if finding.severity is not Severity.NOTE}


def edit_table(path: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    """Change the rows of a table in place; its columns stay."""
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    change(rows)
    write_table(path, columns, rows)


def write_table(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    """Write rows under a heading line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
