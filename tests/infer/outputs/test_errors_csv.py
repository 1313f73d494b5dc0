from __future__ import annotations

import csv
from pathlib import Path

from echoapex.domain import StudyReport
from echoapex.infer.outputs.files import write_errors


def test_one_line_per_error_whatever_it_says(tmp_path: Path) -> None:
    errors = (
        {"file": "a.dcm", "reason": "is cut\noff", "remedy": "copy it, again"},
        {"file": "b.dcm", "reason": "is empty", "remedy": "export it"},
    )
    path = write_errors(tmp_path, StudyReport(echoapex_version="1", errors=errors))
    assert len(path.read_text().splitlines()) == 3
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"file": "a.dcm", "reason": "is cut off", "remedy": "copy it, again"}


def test_without_errors_there_is_the_header(tmp_path: Path) -> None:
    assert write_errors(tmp_path, StudyReport(echoapex_version="1")).read_text() == "file,reason,remedy\n"
