"""The table of an evaluation: headline scores, and no row for what was not scored."""

from __future__ import annotations

from pathlib import Path

from reference_studies import make_study
from rich.console import Console
from written_results import write_results

from echoapex.cli.evaluate import summary_table
from echoapex.evaluate.harness import score_predictions
from echoapex.evaluate.reference import ReferenceSet, read_predictions
from echoapex.vocabulary import Quantity


def test_headline_scores(tmp_path: Path) -> None:
    studies = (make_study(0), make_study(1))
    for study, error in zip(studies, (1.0, 4.0), strict=True):
        values = {Quantity.LVEF: study.values[Quantity.LVEF] + error}
        write_results(tmp_path / study.patient, study, values=values)
    reference = ReferenceSet("test", "", studies, "made up", "made up")
    metrics, _ = score_predictions(reference, read_predictions(tmp_path))
    console = Console(width=120)
    with console.capture() as captured:
        console.print(summary_table(metrics))
    rows = {line[:28].strip(): line[28:].split() for line in captured.get().splitlines()}
    assert rows["EF, MAE (points)"] == ["2.50", "1.00", "to", "4.00", "2", "0"]
    assert rows["Dice, LV cavity"][0] == "1.000"
    # values of which none was written are shown as missing, structures that are nowhere in the truth not at all
    assert rows["IVSd, MAE (mm)"] == ["-", "-", "0", "2"]
    assert not any("atrium" in name for name in rows)
