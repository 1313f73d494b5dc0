"""Figures: valid SVG whose marks are as many, and lie where, the numbers say."""

import xml.etree.ElementTree as ET

import pytest

from echoapex.evaluate.card.card_file import (
    Agreement,
    Goal,
    LabelCurve,
    LabelPoint,
    Measured,
    PartConfusion,
    PartReliability,
    Published,
    SeedMean,
)
from echoapex.evaluate.card.examples import draw_confusion, draw_reliability
from echoapex.evaluate.card.figures import (
    Axis,
    draw_agreement,
    draw_interval,
    draw_label_curves,
    round_ticks,
    shared_axis,
    standalone,
)
from echoapex.evaluate.metrics_file import Confusion, Reliability, Score
from echoapex.vocabulary import Quantity, View

SVG = "{http://www.w3.org/2000/svg}"


def parse(figure: str) -> ET.Element:
    return ET.fromstring(figure)


def marks(figure: str, tag: str, style: str) -> list[ET.Element]:
    return [found for found in parse(figure).iter(SVG + tag) if found.get("class") == style]


def words(figure: str) -> list[str]:
    return [found.text or "" for found in parse(figure).iter(SVG + "text")]


def test_an_axis_places_values_and_keeps_them_inside() -> None:
    up = Axis(0, 2, 100, 0)
    assert [up.place(value) for value in (0, 0.5, 2, 9, -1)] == [100, 75, 0, 0, 100]
    assert round_ticks(0, 2) == [0, 0.5, 1, 1.5, 2]
    assert round_ticks(-12, 31, 4) == [0, 20]


def test_confusion_shows_every_count_and_leaves_empty_columns_out() -> None:
    columns = (*(view.value for view in View), "none")
    counts = [[0] * len(columns) for _ in range(2)]
    counts[0][columns.index("A4C")] = 7
    counts[1][columns.index("none")] = 3
    found = PartConfusion(
        part="mine",
        confusion=Confusion(rows=(View.A4C, View.PSAX_AV), columns=columns, counts=tuple(map(tuple, counts))),
    )
    drawn = draw_confusion(found)
    assert [cell.get("fill-opacity") for cell in marks(drawn, "rect", "rightfill")] == ["1.00"], "A4C is right"
    assert [cell.get("fill-opacity") for cell in marks(drawn, "rect", "wrongfill")] == ["1.00"], "no view is wrong"
    assert {"7", "3", "A4C", "PSAX AV", "no view"} <= set(words(drawn))
    assert "A2C" not in words(drawn)


def test_reliability_places_a_dot_for_every_bin() -> None:
    bins = (Reliability(cases=4, confidence=0.5, accuracy=1.0), Reliability(cases=16, confidence=0.9, accuracy=0.75))
    drawn = draw_reliability(PartReliability(part="mine", bins=bins, error=Score(value=0.2, n=20)))
    small, large = marks(drawn, "circle", "f1")
    assert float(small.get("r", 0)) < float(large.get("r", 0))
    assert float(small.get("cx", 0)) < float(large.get("cx", 0))
    assert float(small.get("cy", 0)) < float(large.get("cy", 0)), "y runs down"
    assert {"4", "16"} <= set(words(drawn))


def test_agreement_has_a_dot_for_every_study_and_its_limits_in_words() -> None:
    found = Agreement(
        part="mine", quantity=Quantity.LVEF, unit="points", bias=1.0, lower=-4.0, upper=6.0,
        pairs=((50, 52), (60, 60), (40, 41)),
    )  # fmt: skip
    drawn = draw_agreement(found)
    assert len(marks(drawn, "circle", "dots")) == 3
    assert len(marks(drawn, "path", "limit")) == 2
    assert {"−4", "6", "1"} <= set(words(drawn))


def test_an_interval_lies_on_the_scale_of_its_table() -> None:
    row = Measured(
        part="mine", metric="MAE", unit="mm", higher_is_better=False,
        score=Score(value=1.0, n=5, interval=(0.5, 1.5)),
        goal=Goal(value=0.8, met=False), published=(Published(value=1.2, source="somebody"),),
    )  # fmt: skip
    axis = shared_axis([row])
    assert (axis.low, axis.high) == (0, 1.5)
    drawn = draw_interval(row, axis)
    (value,) = marks(drawn, "circle", "point")
    assert float(value.get("cx", 0)) == pytest.approx(axis.place(1.0), abs=0.1)
    assert len(marks(drawn, "circle", "published")) == len(marks(drawn, "path", "goal")) == 1
    assert len(marks(drawn, "path", "whisker")) == 3


def test_a_scale_of_shares_ends_at_one_and_nothing_measured_has_one_too() -> None:
    share = Measured(part="p", metric="recall", higher_is_better=True, score=Score(value=0.97, n=5, interval=(0.55, 1)))
    assert (shared_axis([share]).low, shared_axis([share]).high) == (0.5, 1)
    assert shared_axis([]).high == 1


def test_label_curves_draw_all_labels_at_the_right_end() -> None:
    points = tuple(
        LabelPoint(amount=amount, unit=unit, runs=2, scores={"dice_lv_cavity": SeedMean(mean=mean, half_width=0.1)})
        for amount, unit, mean in ((5, "clips", 0.5), (50, "clips", 0.7), (None, "all", 0.9))
    )
    drawn = draw_label_curves([LabelCurve(name="ours", points=points)], "dice_lv_cavity")
    (line,) = marks(drawn, "polyline", "s1")
    xs = [float(pair.split(",")[0]) for pair in (line.get("points") or "").split()]
    assert xs == sorted(xs)
    assert {"5", "50", "all", "ours"} <= set(words(drawn))
    assert len(marks(drawn, "path", "s1 bar")) == 3, "one bar for the interval of each point"


def test_errors_of_very_few_labels_do_not_flatten_the_rest() -> None:
    points = tuple(
        LabelPoint(
            amount=amount, unit="patients", runs=1, scores={"ef_mae": SeedMean(mean=mean, interval=(0.9 * mean, top))}
        )
        for amount, mean, top in ((2, 40.0, 90.0), (20, 12.0, 14.0), (200, 10.0, 11.0))
    )
    drawn = draw_label_curves([LabelCurve(name="ours", points=points)], "ef_mae")
    assert "80" not in words(drawn), "the axis ends where most of the curve lies"
    assert "0" in words(drawn), "and errors begin at none"


def test_probes_are_parted_and_no_line_parts_one_of_them() -> None:
    columns = (*(view.value for view in View), "none")
    rows = (View.A4C, View.PLAX, View.TEE_4C, View.ICE_LA)
    counts = tuple(tuple(int(column == row.value) for column in columns) for row in rows)
    drawn = draw_confusion(PartConfusion(part="mine", confusion=Confusion(rows=rows, columns=columns, counts=counts)))
    assert len(marks(drawn, "path", "axis")) == 2 + 2, "TTE, TEE and ICE, down and across"
    surface = PartConfusion(part="mine", confusion=Confusion(rows=rows[:2], columns=columns, counts=counts[:2]))
    assert not marks(draw_confusion(surface), "path", "axis")


def test_published_figures_lie_on_the_scale() -> None:
    row = Measured(
        part="p", metric="Dice", higher_is_better=True, score=Score(value=0.92, n=5, interval=(0.9, 0.94)),
        published=(Published(value=0.752, source="somebody"),),
    )  # fmt: skip
    assert shared_axis([row]).low == 0.7, "0.752 is drawn where it is, not at the edge"


def test_an_exact_interval_is_drawn_where_the_other_has_no_width() -> None:
    row = Measured(
        part="p", metric="recall", higher_is_better=True, score=Score(value=1.0, n=5, interval=(1.0, 1.0)),
        exact_interval=(0.5, 1.0),
    )  # fmt: skip
    axis = shared_axis([row])
    line, *_ = marks(draw_interval(row, axis), "path", "whisker")
    assert f"M{axis.place(0.5):.1f}" in (line.get("d") or "")


def test_a_figure_as_a_file_brings_its_colours() -> None:
    text = standalone('<svg xmlns="http://www.w3.org/2000/svg" class="figure"><path class="axis"/></svg>')
    style = parse(text).find(SVG + "style")
    assert style is not None
    assert "--accent" in (style.text or "")
    assert "prefers-color-scheme" not in (style.text or ""), "dark on white, on any screen"
