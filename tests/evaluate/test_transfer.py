"""The table of transfer: what a cell says, and that nothing is hidden where there was no answer."""

from __future__ import annotations

from pathlib import Path

from written_results import write_results

from echoapex.evaluate.harness import score_predictions
from echoapex.evaluate.reference import ReferenceSet, read_predictions
from echoapex.evaluate.transfer import collect_transfer, markdown_text, write_transfer
from echoapex.vocabulary import Application, Quantity

TAUGHT = dict.fromkeys(Application, ("simulated | hearts",))


def test_a_cell_says_value_interval_cases_and_what_is_missing(tmp_path: Path, reference: ReferenceSet) -> None:
    for number, study in enumerate(reference.studies):
        values = {Quantity.LVEF: study.values[Quantity.LVEF] + 2} if number else {}
        write_results(tmp_path / study.patient, study, values=values)
    metrics, _ = score_predictions(reference, read_predictions(tmp_path))
    table = collect_transfer({("mine", "test"): metrics}, {"mine": TAUGHT, "other": TAUGHT}, "0")
    lines = markdown_text(table).splitlines()
    assert "| test | EF, MAE (points) | 2.00 (2.00 to 2.00), n 3, 1 missing | - |" in lines
    assert "| test | IVSd, MAE (mm) | -, 4 missing | - |" in lines
    taught = [line for line in lines if "was taught by" in line]
    assert taught[0].endswith("view_classification, segmentation, lv_wall, ejection_fraction: simulated | hearts")
    as_json, as_csv, as_markdown = write_transfer(tmp_path / "table", table)
    assert type(table).model_validate_json(as_json.read_bytes()) == table
    assert 'mine,test,,"EF, MAE (points)",2,2,2,3,1' in as_csv.read_text().splitlines()
    assert as_markdown.read_text() == markdown_text(table)
