"""Every code of a DICOM report exists in the standard's dictionary with exactly this meaning."""

from __future__ import annotations

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts

from echoapex.vocabulary import Quantity, Structure, View, codes
from echoapex.vocabulary.codes import OWN_SCHEME, Code, unit_code
from echoapex.vocabulary.echo_coding import PATIENT_CODES, all_codes, code_measurement, loinc_code

IN_OTHER_WORDS = {
    # the words of PS3.17 CCCC.5; pydicom's dictionary has SNOMED's full names
    codes.CARDIAC_CYCLE_POINT: "Cardiovascular cycle point (qualifier value)",
    codes.IMAGE_MODE: "Image mode (observable entity)",
}
USED = {
    *(item for item in vars(codes).values() if isinstance(item, Code)),
    *all_codes(),
    *(view.code for view in View if view.code),
    *(structure.code for structure in Structure),
}
STANDARD = sorted(code for code in USED if code.scheme != OWN_SCHEME)


def entries(code: Code) -> list[tuple[str, list[int]]]:
    """Meaning and context groups of a code in pydicom's copy of PS3.16."""
    return [
        (meaning, groups)
        for by_value in concepts[code.scheme].values()
        for value, (meaning, groups) in by_value.items()
        if value == code.value
    ]


def groups_of(code: Code) -> set[int]:
    return {group for _, groups in entries(code) for group in groups}


@pytest.mark.parametrize("code", STANDARD, ids=lambda code: f"{code.scheme}-{code.value}")
def test_a_code_exists_with_its_meaning(code: Code) -> None:
    meanings = [meaning for meaning, _ in entries(code)]
    assert IN_OTHER_WORDS.get(code, code.meaning) in meanings, (
        f"{code.value} means {meanings or 'nothing'} in the standard"
    )


def test_values_of_standard_quantities_are_in_the_core_echo_measurements() -> None:
    assert 12300 in cid_concepts
    for quantity in Quantity:
        for biplane in (True, False):
            for view in (None, View.A4C, View.A2C):
                coding = code_measurement(quantity, biplane=biplane, view=view)
                if coding is None:
                    assert quantity in PATIENT_CODES
                elif coding.is_pre_coordinated:
                    assert 12300 in groups_of(coding.name), coding.name
                else:
                    assert len(coding.name.value) <= 16, "code values have up to 16 characters"


def test_modifiers_come_from_the_context_groups_of_the_template() -> None:
    for quantity in set(Quantity) - set(PATIENT_CODES):
        coding = code_measurement(quantity)
        assert coding is not None
        assert 12303 in groups_of(coding.measurement_type)
        assert 12305 in groups_of(coding.finding_site)
        assert 12302 in groups_of(coding.observation_type)
        assert 12304 in groups_of(coding.measured_property)
        assert 12307 in groups_of(coding.cardiac_cycle_point)
        if coding.method is not None and coding.method.scheme != OWN_SCHEME:
            assert 12227 in groups_of(coding.method)
    assert 12224 in groups_of(codes.TWO_D_MODE)
    assert {7150} <= groups_of(codes.ANATOMICAL_STRUCTURE)
    assert {7162} <= groups_of(codes.ARTIFICIAL_INTELLIGENCE)


def test_the_code_says_how_a_value_was_measured() -> None:
    def name(quantity: Quantity, *, biplane: bool = False, view: View | None = None) -> str:
        coding = code_measurement(quantity, biplane=biplane, view=view)
        assert coding is not None
        return coding.name.value

    assert name(Quantity.EDV, biplane=True) == "79996-5"
    assert name(Quantity.EDV, view=View.A4C) == "79999-9"
    assert name(Quantity.EDV, view=View.A2C) == "79998-1"
    assert name(Quantity.EDV) == "LVEDV_DISCS", "a mean over both planes is neither of them"
    assert name(Quantity.LVEF, view=View.A4C) == "LVEF_REGRESSION", "a regression is no method of discs"
    assert name(Quantity.EDV_INDEX) == "LVEDV_DISCS_BSA"
    assert name(Quantity.EDV_INDEX, biplane=True) == "79997-3"
    assert name(Quantity.RWT) == "RWT"
    assert name(Quantity.LA_VOLUME, biplane=True) == "79983-3"
    assert name(Quantity.LA_VOLUME, view=View.A4C) == "79986-6"
    assert name(Quantity.LA_VOLUME_INDEX) == "LAV_DISCS_BSA"
    assert name(Quantity.LA_VOLUME_AREA_LENGTH, view=View.A4C) == "LAV_AREA_LENGTH"
    assert name(Quantity.LA_DIAMETER, view=View.PLAX) == "79975-9"
    assert name(Quantity.RV_FAC, view=View.A4C) == "79936-1"
    assert name(Quantity.RVIDD, view=View.PLAX) == "RVIDD_2D", "CID 12300 has no code for it"
    assert loinc_code(Quantity.RVIDD) == Quantity.RVIDD.code


def test_two_planes_change_the_method() -> None:
    def method(quantity: Quantity, *, biplane: bool) -> str:
        coding = code_measurement(quantity, biplane=biplane)
        assert coding is not None
        assert coding.method is not None
        return coding.method.meaning

    for quantity in (Quantity.EDV, Quantity.LA_VOLUME, Quantity.STROKE_VOLUME):
        assert method(quantity, biplane=False) == "Method of Disks, Single Plane"
        assert method(quantity, biplane=True) == "Method of Disks, Biplane"
    assert method(Quantity.LA_VOLUME_AREA_LENGTH, biplane=True) == "Area-Length Biplane"
    assert method(Quantity.LVEF, biplane=True) == "Regression from the clip"


def test_units_are_ucum() -> None:
    assert {unit_code(quantity.unit).scheme for quantity in Quantity} == {"UCUM"}
    known = {value: meaning for by_value in concepts["UCUM"].values() for value, (meaning, _) in by_value.items()}
    for quantity in Quantity:
        code = unit_code(quantity.unit)
        assert known.get(code.value, code.meaning) == code.meaning
