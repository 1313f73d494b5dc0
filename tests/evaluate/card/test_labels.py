"""Probes of frozen encoders read back, and who is said to be ahead."""

import json
import re
from pathlib import Path

import pytest

from echoapex.evaluate.card.card_file import LabelCurve, LabelPoint, SeedMean
from echoapex.evaluate.card.labels import Lead, label_figures, label_table, lead_over, read_probe_curves
from echoapex.evaluate.card.targets import CardError


def rows(*scores: float, spread: float = 0.02) -> list[dict[str, float]]:
    return [
        {"share": share, "patients": patients, "score": score, "low": score - spread, "high": score + spread}
        for share, patients, score in zip((0.1, 1.0), (4, 40), scores, strict=True)
    ]


def write_probes(path: Path) -> Path:
    random = {"views": rows(0.2, 0.5), "lv_wall": rows(9.0, 5.0)}
    ours = {"views": rows(0.8, 0.51), "lv_wall": rows(9.0, 4.0)}
    path.write_text(json.dumps({"random": random, "ours": ours}))
    return path


def test_encoders_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    curves = read_probe_curves(write_probes(tmp_path / "label_efficiency.json"))
    assert [(curve.name, curve.kind) for curve in curves] == [("random", "probe")] * 2 + [("ours", "probe")] * 2
    assert [(point.amount, point.unit) for point in curves[0].points] == [(4, "patients"), (40, "patients")]
    assert curves[0].points[0].scores["probe/views"].ends == pytest.approx((0.18, 0.22))


def test_ahead_means_that_intervals_do_not_touch(tmp_path: Path) -> None:
    views, walls = label_figures(read_probe_curves(write_probes(tmp_path / "label_efficiency.json")))
    assert lead_over(*views.curves, views.metric) == Lead(ahead=1, behind=0, shared=2)
    assert lead_over(*walls.curves, walls.metric) == Lead(ahead=1, behind=0, shared=2), "lower is better"
    assert lead_over(*reversed(walls.curves), walls.metric) == Lead(ahead=0, behind=1, shared=2)


def test_the_table_says_who_is_ahead_and_who_is_not(tmp_path: Path) -> None:
    curves = read_probe_curves(write_probes(tmp_path / "label_efficiency.json"))
    told = re.sub(r"<[^>]+>", " ", label_table(curves))
    assert told.count("ours is ahead of random at 1 of 2 amounts") == 2
    same = label_table([curves[0], curves[0].model_copy(update={"name": "again"})])
    assert "again is neither ahead of random nor behind at any of 2 amounts" in same
    assert label_table([]) == ""


def test_what_is_neither_better_nor_worse_is_no_figure() -> None:
    point = LabelPoint(amount=5, unit="clips", runs=1, scores={"view_temperature": SeedMean(mean=1.2)})
    assert label_figures([LabelCurve(name="mine", points=(point,))]) == []


@pytest.mark.parametrize(
    ("content", "message"), [("{}", "holds no encoder"), ('{"a": {"views": []}}', "a.views"), ("[]", "the file")]
)
def test_files_that_are_no_study_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(CardError, match=message):
        read_probe_curves(tmp_path / "x.json")
    with pytest.raises(CardError, match="cannot be read"):
        read_probe_curves(tmp_path / "none.json")
