"""How an Echocardiography Procedure Report (TID 5200) names each measured quantity.

This template is older than CID 12300. Its codes name a quantity alone, and modifiers say method, view and moment. Where
its context groups (CID 12201 to 12206, 12239) have no code, the code of CID 12300 with exactly the meaning of the value
is taken, because these groups may be extended. A value with neither has no code here and is left out: a receiver of
such reports cannot know our own codes. Source: DICOM PS3.16, TID 5200 to 5203.
"""

from dataclasses import dataclass

from echoapex.vocabulary import codes
from echoapex.vocabulary.codes import OWN_SCHEME, Code
from echoapex.vocabulary.echo_coding import code_measurement
from echoapex.vocabulary.quantities import Quantity
from echoapex.vocabulary.views import View

SECTIONS = (codes.LEFT_VENTRICLE, codes.LEFT_ATRIUM, codes.RIGHT_VENTRICLE, codes.RIGHT_ATRIUM)
"""The structures whose findings have a section, in the order of the template."""
_CARDIAC_PHASES = (codes.END_DIASTOLE, codes.END_SYSTOLE)
"""Moments of CID 12233; the whole cycle is no phase of it."""
_LEFT_ATRIAL_VOLUME = Code("399235004", "SCT", "Left Atrium Systolic Volume")
_NAMES = {
    **{
        quantity: quantity.code
        for quantity in (
            *(Quantity.LVEF, Quantity.LVEF_DISCS, Quantity.EDV, Quantity.ESV),
            *(Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD, Quantity.LV_MASS, Quantity.RVIDD),
        )
    },
    Quantity.LV_LENGTH: Code("18077-8", "LN", "Left Ventricle diastolic major axis"),
    Quantity.STROKE_VOLUME: codes.STROKE_VOLUME,
    Quantity.STROKE_VOLUME_INDEX: Code("277381004", "SCT", "Stroke Index"),
    Quantity.CARDIAC_OUTPUT: Code("82799009", "SCT", "Cardiac Output"),
    Quantity.CARDIAC_INDEX: Code("54993008", "SCT", "Cardiac Index"),
    Quantity.LA_VOLUME: _LEFT_ATRIAL_VOLUME,
    Quantity.LA_VOLUME_AREA_LENGTH: _LEFT_ATRIAL_VOLUME,
    Quantity.LA_DIAMETER: Code("29469-4", "LN", "Left Atrium Antero-posterior Systolic Dimension"),
}


@dataclass(frozen=True)
class ProcedureCoding:
    """How one value stands in a procedure report.

    Attributes:
        section: the structure under whose findings it stands.
        name: the concept.
        method: how it was measured; None where no method has to be named.
        cardiac_cycle_point: end-diastole or end-systole; None where it is neither.
    """

    section: Code
    name: Code
    method: Code | None
    cardiac_cycle_point: Code | None


def code_finding(quantity: Quantity, *, biplane: bool = False, view: View | None = None) -> ProcedureCoding | None:
    """The code of a value in a procedure report; None where the standard has no code for it.

    ``PATIENT_CODES`` have none either, because they describe the patient and no structure of the heart.

    >>> code_finding(Quantity.EDV, view=View.A4C).name.meaning
    'Left Ventricular End Diastolic Volume'

    Args:
        quantity: what was measured.
        biplane: whether volumes are from two planes.
        view: the view of a value that comes from one view only.
    """
    coding = code_measurement(quantity, biplane=biplane, view=view)
    if coding is None:
        return None
    name = _NAMES.get(quantity) or coding.name
    if name.scheme == OWN_SCHEME:
        return None
    septum = coding.finding_site == codes.INTERVENTRICULAR_SEPTUM  # the template lists it under the left ventricle
    section = codes.LEFT_VENTRICLE if septum else coding.finding_site
    point = coding.cardiac_cycle_point if coding.cardiac_cycle_point in _CARDIAC_PHASES else None
    return ProcedureCoding(section, name, coding.method, point)


def finding_codes() -> tuple[Code, ...]:
    """Every code of the standards that names a value in a procedure report."""
    found: dict[Code, None] = {}
    for quantity in Quantity:
        for biplane in (True, False):
            for view in (None, View.A4C, View.A2C, View.PLAX):
                coding = code_finding(quantity, biplane=biplane, view=view)
                if coding is not None:
                    found[coding.name] = None
    return tuple(found)
