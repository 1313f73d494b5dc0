"""Every code of a procedure report exists in the standard, and no value has a code that means something else."""

from __future__ import annotations

import pytest
from pydicom.sr._concepts_dict import concepts

from echoapex.vocabulary import Quantity, View, codes
from echoapex.vocabulary.codes import OWN_SCHEME, Code
from echoapex.vocabulary.echo_coding import PATIENT_CODES
from echoapex.vocabulary.procedure_coding import SECTIONS, code_finding, finding_codes

GROUPS_OF_THE_TEMPLATE = {12201, 12202, 12203, 12204, 12205, 12206, 12239}
CORE_MEASUREMENTS = 12300
WITHOUT_CODE = {
    *(Quantity.RWT, Quantity.SPHERICITY_INDEX, Quantity.GLS_ENDOCARDIAL, Quantity.RA_VOLUME, Quantity.RA_VOLUME_INDEX),
    *(Quantity.BSA, Quantity.HEART_RATE),
}
ONLY_BIPLANE = {Quantity.EDV_INDEX, Quantity.ESV_INDEX, Quantity.LA_VOLUME_INDEX}


def standard_entry(code: Code) -> tuple[str, set[int]]:
    """Meaning and context groups of a code in pydicom's copy of PS3.16."""
    found = [by_code[code.value] for by_code in concepts[code.scheme].values() if code.value in by_code]
    assert found, f"{code.value} is not in the standard"
    return found[0][0], {group for _, groups in found for group in groups}


@pytest.mark.parametrize("code", sorted(finding_codes()), ids=lambda code: f"{code.scheme}-{code.value}")
def test_a_code_exists_with_its_meaning(code: Code) -> None:
    meaning, groups = standard_entry(code)
    assert meaning == code.meaning
    assert groups & (GROUPS_OF_THE_TEMPLATE | {CORE_MEASUREMENTS})


def test_what_has_no_code_and_what_has_one_with_two_planes_only() -> None:
    for quantity in Quantity:
        assert (code_finding(quantity, biplane=True) is None) == (quantity in WITHOUT_CODE), quantity
        assert (code_finding(quantity) is None) == (quantity in WITHOUT_CODE | ONLY_BIPLANE), quantity
    assert set(PATIENT_CODES) <= WITHOUT_CODE


def test_codes_of_the_template_go_first() -> None:
    for quantity, value in (
        (Quantity.EDV, "18026-5"),
        (Quantity.LVEF, "18043-0"),
        (Quantity.LVIDD, "29436-3"),
        (Quantity.CARDIAC_OUTPUT, "82799009"),
        (Quantity.LA_VOLUME_AREA_LENGTH, "399235004"),
    ):
        coding = code_finding(quantity, biplane=True, view=View.A4C)
        assert coding is not None
        assert coding.name.value == value
        assert standard_entry(coding.name)[1] & GROUPS_OF_THE_TEMPLATE


def test_modifiers_come_from_the_context_groups_of_the_template() -> None:
    for quantity in set(Quantity) - WITHOUT_CODE:
        coding = code_finding(quantity, biplane=True)
        assert coding is not None
        assert coding.section in SECTIONS
        if coding.method is not None and coding.method.scheme != OWN_SCHEME:
            assert 12227 in standard_entry(coding.method)[1]
        if coding.cardiac_cycle_point is not None:
            assert 12233 in standard_entry(coding.cardiac_cycle_point)[1]
    assert 12224 in standard_entry(codes.TWO_D_MODE)[1]


def test_the_septum_stands_under_the_left_ventricle() -> None:
    septum = code_finding(Quantity.IVSD)
    assert septum is not None
    assert septum.section == codes.LEFT_VENTRICLE
