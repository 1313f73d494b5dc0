from __future__ import annotations

import csv
import io

import pytest
from infer.conftest import AnalysedStudy

from echoapex.domain.results import ROW_COLUMNS
from echoapex.infer.outputs.files import table_bytes


def test_every_value_has_its_line(analysed: AnalysedStudy) -> None:
    with (analysed.out / "measurements.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == ROW_COLUMNS
    report = analysed.report
    assert len(rows) == len(report.measurements) + sum(len(clip.measurements) for clip in report.clips)
    assert report.ef is not None
    ef = next(row for row in rows if row["level"] == "study" and row["quantity"] == "lvef")
    assert float(ef["value"]) == pytest.approx(report.ef.value, rel=1e-5)
    assert ef["unit"] == "%"
    assert float(ef["interval_low"]) < float(ef["value"]) < float(ef["interval_high"])


def test_text_cannot_become_a_formula_and_commas_stay_inside_a_cell() -> None:
    table = table_bytes(("file", "reason"), [{"file": "=cmd()", "reason": 'a, "b"'}, {"file": "-1.dcm", "reason": ""}])
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    assert rows[0] == {"file": "'=cmd()", "reason": 'a, "b"'}
    assert rows[1]["file"] == "'-1.dcm"


def test_a_negative_number_stays_a_number() -> None:
    cells = ["-18.25", "-1e-05", "-1+cmd()", "-", "+1"]
    rows = list(csv.DictReader(io.StringIO(table_bytes(("value",), [{"value": cell} for cell in cells]).decode())))
    assert [row["value"] for row in rows] == ["-18.25", "-1e-05", "'-1+cmd()", "'-", "'+1"]
