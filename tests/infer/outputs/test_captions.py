from __future__ import annotations

from echoapex.domain import ClipReport, Evidence, Flag, Measurement
from echoapex.infer.outputs.clip_pictures import clip_lines, short_name, value_line, value_text, view_text
from echoapex.vocabulary import Quantity, View

EVIDENCE = (Evidence(clip_id="c", row_mm=0.3, column_mm=0.3),)


def a_value(quantity: Quantity, value: float, *flags: Flag) -> Measurement:
    return Measurement(quantity=quantity, value=value, method="m", flags=flags, evidence=EVIDENCE)


def a_clip(**more: object) -> ClipReport:
    values = {"clip_id": "c", "file": "c.dcm", "frames": 2, "size": (8, 8), "content": "b_mode", **more}
    return ClipReport.model_validate(values)


def test_values_are_rounded_as_clinicians_write_them() -> None:
    assert value_text(a_value(Quantity.LVEF, 56.4)) == "56 %"
    assert value_text(a_value(Quantity.IVSD, 9.63)) == "9.6 mm"
    assert value_text(a_value(Quantity.RWT, 0.4049)) == "0.40"
    assert value_text(a_value(Quantity.EDV, 101.2, Flag.SINGLE_PLANE)) == "101 mL*"


def test_a_line_holds_what_is_there_in_the_order_asked() -> None:
    found = [a_value(Quantity.ESV, 40), a_value(Quantity.EDV, 100)]
    assert value_line(found, (Quantity.LVEF, Quantity.EDV, Quantity.ESV)) == "EDV 100 mL    ESV 40 mL"


def test_every_quantity_has_a_short_name() -> None:
    assert all(short_name(quantity) for quantity in Quantity)


def test_a_clip_says_its_view_or_why_it_was_set_aside() -> None:
    assert view_text(a_clip(view=View.PLAX, view_probabilities={View.PLAX: 0.874})) == "Parasternal long-axis  87 %"
    aside = a_clip(set_aside="an M-mode image")
    assert view_text(aside) == "Set aside"
    assert clip_lines(aside) == ("an M-mode image",)
