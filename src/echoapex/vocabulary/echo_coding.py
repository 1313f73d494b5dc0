"""How DICOM names each measured quantity: one code of CID 12300, or a code of our own with its modifiers.

CID 12300 "Core Echo Measurement" names a quantity together with its method and its image mode. A value has such a code
only if it was measured in exactly this way. Every other value gets a code of our own scheme, and the modifiers of
TID 5302 "Post-coordinated Echo Measurement" say what it is. Sources: DICOM PS3.16, CID 12300 and CID 12302 to 12307,
TID 5301 and 5302; PS3.17 annex CCCC. That annex labels 80031-8 "LVPWd (2D)"; its meaning alone does not say 2D.
"""

from dataclasses import dataclass, replace

from echoapex.vocabulary import codes
from echoapex.vocabulary.codes import OWN_SCHEME, Code
from echoapex.vocabulary.quantities import Quantity
from echoapex.vocabulary.views import View


@dataclass(frozen=True)
class EchoCoding:
    """The code of a value, and what the code means.

    Attributes:
        name: the concept.
        short_label: the abbreviation of the guideline.
        measurement_type: CID 12303, such as "Directly measured".
        finding_site: CID 12305.
        observation_type: CID 12302.
        measured_property: CID 12304.
        cardiac_cycle_point: CID 12307.
        method: CID 12227, or a code of our own; None where no method has to be named.
        divisor: what a ratio or an indexed value was divided by.
    """

    name: Code
    short_label: str
    measurement_type: Code
    finding_site: Code
    observation_type: Code
    measured_property: Code
    cardiac_cycle_point: Code
    method: Code | None = None
    divisor: Code | None = None

    @property
    def is_pre_coordinated(self) -> bool:
        """Whether the name is a code of CID 12300, which says everything."""
        return self.name.scheme != OWN_SCHEME


PATIENT_CODES = {Quantity.BSA: codes.BODY_SURFACE_AREA, Quantity.HEART_RATE: codes.HEART_RATE}
"""Quantities that describe the patient rather than a structure of the heart."""


def code_measurement(quantity: Quantity, *, biplane: bool = False, view: View | None = None) -> EchoCoding | None:
    """The DICOM code of a value; None for ``PATIENT_CODES``, which describe the patient.

    Args:
        quantity: what was measured.
        biplane: whether volumes are from two planes.
        view: the view of a value that comes from one view only.
    """
    if quantity in PATIENT_CODES:
        return None
    coding = _CODINGS[quantity]
    biplane_code, by_view = _PLANE_CODES.get(quantity, (None, {}))
    name = biplane_code if biplane else by_view.get(view)
    method = _BIPLANE_METHODS.get(coding.method, coding.method) if biplane else coding.method
    return replace(coding, name=name or coding.name, method=method)


def loinc_code(quantity: Quantity, *, biplane: bool = False, view: View | None = None) -> Code | None:
    """The LOINC code with exactly the meaning of a value, or None; for outputs that need no DICOM template.

    A code of CID 12300, which says quantity, method and planes, goes first. Else the code of the quantity is taken,
    which says less. Codes that say more than is known are not used: a left atrial volume of two planes that were not
    taken together has none. All codes are in PS3.16, where DICOM names them.

    >>> loinc_code(Quantity.LA_VOLUME, biplane=True).value
    '79983-3'

    Args:
        quantity: what was measured.
        biplane: whether volumes are from two planes together.
        view: the view of a value that comes from one view only.
    """
    coding = code_measurement(quantity, biplane=biplane, view=view)
    if coding is not None and coding.name.scheme == "LN":
        return coding.name
    return PATIENT_CODES.get(quantity, quantity.code)


_BIPLANE_METHODS: dict[Code | None, Code] = {
    codes.DISKS_SINGLE_PLANE: codes.DISKS_BIPLANE,
    codes.AREA_LENGTH_SINGLE_PLANE: codes.AREA_LENGTH_BIPLANE,
}
"""What a method of one plane is called with two."""


_REGRESSION = Code("REGRESSION", OWN_SCHEME, "Regression from the clip")

_PLANE_CODES: dict[Quantity, tuple[Code, dict[View | None, Code]]] = {
    Quantity.LVEF_DISCS: (
        Code("79991-6", "LN", "Left ventricular ejection fraction biplane (MOD)"),
        {
            View.A4C: Code("79993-2", "LN", "Left ventricular ejection fraction single plane 4C (MOD)"),
            View.A2C: Code("79992-4", "LN", "Left ventricular ejection fraction single plane 2C (MOD)"),
        },
    ),
    Quantity.EDV: (
        Code("79996-5", "LN", "Left ventricular end diastolic volume biplane (MOD)"),
        {
            View.A4C: Code("79999-9", "LN", "Left ventricular end diastolic volume single plane 4C (MOD)"),
            View.A2C: Code("79998-1", "LN", "Left ventricular end diastolic volume single plane 2C (MOD)"),
        },
    ),
    Quantity.ESV: (
        Code("80001-1", "LN", "Left ventricular end systolic volume biplane (MOD)"),
        {
            View.A4C: Code("80004-5", "LN", "Left ventricular end systolic volume single plane 4C (MOD)"),
            View.A2C: Code("80003-7", "LN", "Left ventricular end systolic volume single plane 2C (MOD)"),
        },
    ),
    Quantity.EDV_INDEX: (Code("79997-3", "LN", "Left ventricular end diastolic volume biplane (MOD) / BSA"), {}),
    Quantity.ESV_INDEX: (Code("80002-9", "LN", "Left ventricular end systolic volume biplane (MOD) / BSA"), {}),
    Quantity.LA_VOLUME: (
        Code("79983-3", "LN", "Left atrial end systolic volume biplane (MOD)"),
        {
            View.A4C: Code("79986-6", "LN", "Left atrial end systolic volume single plane 4C (MOD)"),
            View.A2C: Code("79985-8", "LN", "Left atrial end systolic volume single plane 2C (MOD)"),
        },
    ),
    Quantity.LA_VOLUME_INDEX: (Code("79984-1", "LN", "Left atrial end systolic volume biplane (MOD) / BSA"), {}),
    Quantity.LA_VOLUME_AREA_LENGTH: (
        Code("79981-7", "LN", "Left atrial end systolic volume biplane (area-length)"),
        {},
    ),
}
"""The code by two planes, and those by one plane."""


def _volume(code: str, label: str, meaning: str, point: Code, divisor: Code | None = None) -> EchoCoding:
    return EchoCoding(
        Code(code, OWN_SCHEME, meaning),
        label,
        codes.INDEXED if divisor else codes.CALCULATED,
        codes.LEFT_VENTRICLE,
        codes.STRUCTURE_OF_SITE,
        codes.VOLUME,
        point,
        codes.DISKS_SINGLE_PLANE,
        divisor,
    )


def _atrial(site: Code, code: str, label: str, meaning: str, divisor: Code | None = None) -> EchoCoding:
    return replace(_volume(code, label, meaning, codes.END_SYSTOLE, divisor), finding_site=site)


def _flow(code: str, label: str, meaning: str, measured_property: Code, divisor: Code | None = None) -> EchoCoding:
    coding = _volume(code, label, meaning, codes.FULL_CARDIAC_CYCLE, divisor)
    return replace(coding, observation_type=codes.BEHAVIOUR_OF_SITE, measured_property=measured_property)


def _right_ventricular(name: Code, label: str, measurement_type: Code, point: Code) -> EchoCoding:
    return EchoCoding(
        name,
        label,
        measurement_type,
        codes.RIGHT_VENTRICLE,
        codes.STRUCTURE_OF_SITE,
        codes.AREA,
        point,
        codes.PLANIMETRY,
    )


def _ejection(code: str, label: str, meaning: str, method: Code) -> EchoCoding:
    return EchoCoding(
        Code(code, OWN_SCHEME, meaning),
        label,
        codes.CALCULATED,
        codes.LEFT_VENTRICLE,
        codes.BEHAVIOUR_OF_SITE,
        codes.EJECTION_FRACTION,
        codes.FULL_CARDIAC_CYCLE,
        method,
    )


def _length(name: Code, label: str, site: Code, measured_property: Code) -> EchoCoding:
    return EchoCoding(
        name,
        label,
        codes.DIRECTLY_MEASURED,
        site,
        codes.STRUCTURE_OF_SITE,
        measured_property,
        codes.END_DIASTOLE,
    )


_LV_LENGTH = Code("LVLD", OWN_SCHEME, "Left ventricular end diastolic length, mitral plane to apex")
_LVIDD = Code("80007-8", "LN", "Left ventricular internal diastolic dimension - 2D")
_CODINGS = {
    Quantity.LVEF: _ejection(
        "LVEF_REGRESSION", "EF", "Left ventricular ejection fraction by regression from the clip", _REGRESSION
    ),
    Quantity.LVEF_DISCS: _ejection(
        "LVEF_DISCS", "EF discs", "Left ventricular ejection fraction (MOD)", codes.DISKS_SINGLE_PLANE
    ),
    Quantity.EDV: _volume("LVEDV_DISCS", "EDV", "Left ventricular end diastolic volume (MOD)", codes.END_DIASTOLE),
    Quantity.ESV: _volume("LVESV_DISCS", "ESV", "Left ventricular end systolic volume (MOD)", codes.END_SYSTOLE),
    Quantity.EDV_INDEX: _volume(
        "LVEDV_DISCS_BSA",
        "EDV index",
        "Left ventricular end diastolic volume (MOD) / BSA",
        codes.END_DIASTOLE,
        codes.BODY_SURFACE_AREA,
    ),
    Quantity.ESV_INDEX: _volume(
        "LVESV_DISCS_BSA",
        "ESV index",
        "Left ventricular end systolic volume (MOD) / BSA",
        codes.END_SYSTOLE,
        codes.BODY_SURFACE_AREA,
    ),
    Quantity.IVSD: _length(
        Code("79969-2", "LN", "Interventricular septum diastolic dimension 2D"),
        "IVSd",
        codes.INTERVENTRICULAR_SEPTUM,
        codes.THICKNESS,
    ),
    Quantity.LVIDD: _length(_LVIDD, "LVIDd", codes.LEFT_VENTRICLE, codes.INTERNAL_DIMENSION),
    Quantity.LVPWD: _length(
        Code("80031-8", "LN", "Left ventricular posterior wall diastolic thickness"),
        "LVPWd",
        codes.LEFT_VENTRICLE,
        codes.THICKNESS,
    ),
    Quantity.LV_MASS: EchoCoding(
        Code("80019-3", "LN", "Left ventricular mass (dimension method) 2D"),
        "LV mass",
        codes.CALCULATED,
        codes.LEFT_VENTRICLE,
        codes.STRUCTURE_OF_SITE,
        codes.MASS,
        codes.END_DIASTOLE,
        codes.CUBE_METHOD,
    ),
    Quantity.LV_MASS_INDEX: EchoCoding(
        Code("80020-1", "LN", "Left ventricular mass (dimension method) 2D / BSA"),
        "LV mass index",
        codes.INDEXED,
        codes.LEFT_VENTRICLE,
        codes.STRUCTURE_OF_SITE,
        codes.MASS,
        codes.END_DIASTOLE,
        codes.CUBE_METHOD,
        codes.BODY_SURFACE_AREA,
    ),
    Quantity.RWT: EchoCoding(
        Code("RWT", OWN_SCHEME, "Relative wall thickness, 2 LVPWd / LVIDd"),
        "RWT",
        codes.RATIO,
        codes.LEFT_VENTRICLE,
        codes.STRUCTURE_OF_SITE,
        codes.THICKNESS,
        codes.END_DIASTOLE,
        None,
        _LVIDD,
    ),
    Quantity.LV_LENGTH: _length(_LV_LENGTH, "LVLd", codes.LEFT_VENTRICLE, codes.LENGTH),
    Quantity.SPHERICITY_INDEX: EchoCoding(
        Code("LV_SPHERICITY", OWN_SCHEME, "Left ventricular sphericity, mid-cavity diameter / length"),
        "LV sphericity",
        codes.RATIO,
        codes.LEFT_VENTRICLE,
        codes.STRUCTURE_OF_SITE,
        codes.DIAMETER,
        codes.END_DIASTOLE,
        None,
        _LV_LENGTH,
    ),
    Quantity.GLS_ENDOCARDIAL: EchoCoding(
        Code("GLS_ENDOCARDIAL", OWN_SCHEME, "Global longitudinal strain of the endocardial contour"),
        "GLS endocardial",
        codes.CALCULATED,
        codes.LEFT_VENTRICLE,
        codes.BEHAVIOUR_OF_SITE,
        codes.LONGITUDINAL_STRAIN,
        codes.END_SYSTOLE,
        codes.ENDOCARDIAL_METHOD,
    ),
    Quantity.STROKE_VOLUME: _flow("LVSV_DISCS", "SV", "Left ventricular stroke volume (MOD)", codes.STROKE_VOLUME),
    Quantity.STROKE_VOLUME_INDEX: _flow(
        "LVSV_DISCS_BSA",
        "SV index",
        "Left ventricular stroke volume (MOD) / BSA",
        codes.STROKE_VOLUME,
        codes.BODY_SURFACE_AREA,
    ),
    Quantity.CARDIAC_OUTPUT: _flow("CO_DISCS", "CO", "Cardiac output (MOD)", codes.FLOW_RATE),
    Quantity.CARDIAC_INDEX: _flow(
        "CO_DISCS_BSA", "CI", "Cardiac output (MOD) / BSA", codes.FLOW_RATE, codes.BODY_SURFACE_AREA
    ),
    Quantity.LA_VOLUME: _atrial(codes.LEFT_ATRIUM, "LAV_DISCS", "LAV", "Left atrial end systolic volume (MOD)"),
    Quantity.LA_VOLUME_INDEX: _atrial(
        codes.LEFT_ATRIUM,
        "LAV_DISCS_BSA",
        "LAVI",
        "Left atrial end systolic volume (MOD) / BSA",
        codes.BODY_SURFACE_AREA,
    ),
    Quantity.LA_VOLUME_AREA_LENGTH: replace(
        _atrial(codes.LEFT_ATRIUM, "LAV_AREA_LENGTH", "LAV", "Left atrial end systolic volume (area-length)"),
        method=codes.AREA_LENGTH_SINGLE_PLANE,
    ),
    Quantity.LA_DIAMETER: replace(
        _length(
            Code("79975-9", "LN", "Left atrial end systolic diameter (AP) 2D"),
            "LA diameter",
            codes.LEFT_ATRIUM,
            codes.DIAMETER,
        ),
        cardiac_cycle_point=codes.END_SYSTOLE,
    ),
    Quantity.RA_VOLUME: _atrial(codes.RIGHT_ATRIUM, "RAV_DISCS", "RAV", "Right atrial end systolic volume (MOD)"),
    Quantity.RA_VOLUME_INDEX: _atrial(
        codes.RIGHT_ATRIUM,
        "RAV_DISCS_BSA",
        "RAVI",
        "Right atrial end systolic volume (MOD) / BSA",
        codes.BODY_SURFACE_AREA,
    ),
    Quantity.RVIDD: _length(
        Code("RVIDD_2D", OWN_SCHEME, "Right ventricular internal diastolic dimension - 2D"),
        "RVIDd",
        codes.RIGHT_VENTRICLE,
        codes.INTERNAL_DIMENSION,
    ),
    Quantity.RV_ED_AREA: _right_ventricular(
        Code("80081-3", "LN", "Right ventricular end diastolic area 4C"),
        "RV EDA",
        codes.DIRECTLY_MEASURED,
        codes.END_DIASTOLE,
    ),
    Quantity.RV_ES_AREA: _right_ventricular(
        Code("80082-1", "LN", "Right ventricular end systolic area 4C"),
        "RV ESA",
        codes.DIRECTLY_MEASURED,
        codes.END_SYSTOLE,
    ),
    Quantity.RV_FAC: _right_ventricular(
        Code("79936-1", "LN", "Right ventricular fractional area change"),
        "RV FAC",
        codes.FRACTIONAL_CHANGE,
        codes.FULL_CARDIAC_CYCLE,
    ),
}


def all_codes() -> tuple[Code, ...]:
    """Every code that a report may hold for a value, of the standards and our own."""
    found: dict[Code, None] = dict.fromkeys(PATIENT_CODES.values())
    for biplane_code, by_view in _PLANE_CODES.values():
        found |= dict.fromkeys((biplane_code, *by_view.values()))
    found |= dict.fromkeys(_BIPLANE_METHODS.values())
    for coding in _CODINGS.values():
        parts = (coding.name, coding.measurement_type, coding.finding_site, coding.observation_type)
        found |= dict.fromkeys((*parts, coding.measured_property, coding.cardiac_cycle_point))
        found |= dict.fromkeys(code for code in (coding.method, coding.divisor) if code)
    return tuple(found)
