"""The words are complete, unique, coded once, and their files' names come back."""

import re

import pytest

from echoapex.vocabulary import SUBTASKS, VISIBLE_STRUCTURES, Application, Probe, Quantity, Structure, View

UCUM_UNITS = {"%", "mL", "mm", "cm2", "g", "g/m2", "mL/m2", "m2", "/min", "L/min", "L/min/m2", "1"}


def test_there_are_eighteen_views_of_three_probes() -> None:
    probes = [view.probe for view in View]
    assert len(View) == 18
    assert {probe: probes.count(probe) for probe in Probe} == {Probe.TTE: 13, Probe.TEE: 3, Probe.ICE: 2}
    assert len({view.display_name for view in View}) == 18


def test_the_subtasks_are_the_twenty_eight() -> None:
    counts = [sum(task.application is application for task in SUBTASKS) for application in Application]
    assert counts == [18, 6, 3, 1]
    assert len({task.key for task in SUBTASKS}) == 28
    assert all(re.fullmatch(r"[a-z_]+/[A-Za-z0-9_]+", task.key) for task in SUBTASKS)


@pytest.mark.parametrize("structure", Structure)
def test_a_structure_comes_back_from_its_name_and_is_seen_in_some_view(structure: Structure) -> None:
    assert Structure.from_key(structure.key) is structure
    assert structure.code.scheme == "SCT"
    assert any(structure in seen for seen in VISIBLE_STRUCTURES.values())


def test_an_unknown_structure_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'spleen' is no structure; known: lv_cavity, .*aortic_root"):
        Structure.from_key("spleen")


def test_every_view_shows_something_and_nothing_twice() -> None:
    assert set(VISIBLE_STRUCTURES) == set(View)
    for view, seen in VISIBLE_STRUCTURES.items():
        assert seen, view
        assert len(set(seen)) == len(seen)
        if Structure.LV_MYOCARDIUM in seen:
            assert Structure.LV_CAVITY in seen


@pytest.mark.parametrize("quantity", Quantity)
def test_a_quantity_has_a_ucum_unit_and_a_plausible_range(quantity: Quantity) -> None:
    low, high = quantity.plausible_range
    assert low < high
    assert high < 0 if quantity is Quantity.GLS_ENDOCARDIAL else low > 0  # strain is negative, nothing else is
    assert quantity.unit in UCUM_UNITS
    assert quantity.display_name


def test_lengths_volumes_and_masses_need_calibration_and_ratios_of_volumes_do_not() -> None:
    for quantity in Quantity:
        if quantity.unit in {"mm", "cm2", "mL", "g", "g/m2", "mL/m2", "L/min", "L/min/m2"}:
            assert quantity.needs_spacing, quantity
    assert not Quantity.LVEF_DISCS.needs_spacing
    assert not Quantity.GLS_ENDOCARDIAL.needs_spacing
    assert not Quantity.RV_FAC.needs_spacing
    assert not Quantity.HEART_RATE.needs_spacing


def test_codes_name_one_concept_each() -> None:
    coded = [view.code for view in View if view.code] + [structure.code for structure in Structure]
    assert len({(code.scheme, code.value) for code in coded}) == len(coded)
    loinc = [quantity.code for quantity in Quantity if quantity.code]
    assert all(re.fullmatch(r"\d{4,6}-\d", code.value) and code.scheme == "LN" for code in loinc)
    assert all(_loinc_check_digit(code.value) for code in loinc)
    assert all(_is_sctid(code.value) for code in coded)


def _loinc_check_digit(value: str) -> bool:
    """LOINC's check digit is Luhn's (mod 10)."""
    number, check = value.split("-")
    odd = str(int(number[::-1][::2][::-1]) * 2)
    even = number[::-1][1::2][::-1]
    total = sum(int(digit) for digit in even + odd)
    return (10 - total % 10) % 10 == int(check)


def _is_sctid(value: str) -> bool:
    """SNOMED CT identifiers end in a Verhoeff check digit."""
    permutation = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
    while len(permutation) < 8:
        permutation.append([permutation[1][digit] for digit in permutation[-1]])
    check = 0
    for position, digit in enumerate(reversed(value)):
        check = _dihedral(check, permutation[position % 8][int(digit)])
    return check == 0


def _dihedral(i: int, j: int) -> int:
    """Multiplication in the dihedral group of the pentagon."""
    if i < 5:
        return (i + j) % 5 if j < 5 else 5 + (i + j) % 5
    return 5 + (i - j) % 5 if j < 5 else (i - j) % 5
