"""The measured quantities, each with its unit, LOINC code and plausible range.

The plausible ranges are wide: a value outside is more likely an error than a disease, and it is flagged. They are based
on the normal limits of Lang et al., ASE/EACVI 2015, doi 10.1016/j.echo.2014.10.003, section 2 (EDV 46 to 150 mL, ESV 14
to 61 mL, LVEF 52 to 74 % and severely abnormal below 30 %, walls 6 to 10 mm, LVIDd 38 to 58 mm, LV mass 67 to 224 g),
with room for children and for the largest hearts; how much room is our own choice. The range of the heart rate is that
of ``measure.reference_limits``. From the same guideline: LA volume index 16 to 34 mL/m2 and severely abnormal above 48,
RA volume index about 9 to 39 mL/m2, RV area 8 to 24 cm2 at end-diastole and 3 to 15 cm2 at end-systole, RV fractional
area change 35 % or more, strain about -20 %, LA diameter 27 to 40 mm. The ranges of stroke volume and cardiac output
follow from those of volumes and heart rate; they and those of LV length, sphericity and the RV internal diameter are
our own choice.

Codes of the right ventricle and of the LA diameter are in DICOM PS3.16, CID 12300 (core echo measurements), that of the
RV internal diameter in CID 12204 (right ventricle). The LOINC
codes of LA volume there are bound to one method each (biplane, or single-plane of one view), so LA volume has none.
"""

from enum import StrEnum
from typing import NamedTuple

from echoapex.vocabulary.codes import Code


class _Entry(NamedTuple):
    title: str
    unit: str
    code: Code | None
    plausible: tuple[float, float]
    needs_spacing: bool


class Quantity(StrEnum):
    """A measured quantity; the enum value is its name in files."""

    LVEF = "lvef"
    LVEF_DISCS = "lvef_discs"
    EDV = "edv"
    ESV = "esv"
    IVSD = "ivsd"
    LVIDD = "lvidd"
    LVPWD = "lvpwd"
    LV_MASS = "lv_mass"
    LV_MASS_INDEX = "lv_mass_index"
    RWT = "rwt"
    EDV_INDEX = "edv_index"
    ESV_INDEX = "esv_index"
    BSA = "bsa"
    HEART_RATE = "heart_rate"
    LV_LENGTH = "lv_length"
    SPHERICITY_INDEX = "sphericity_index"
    GLS_ENDOCARDIAL = "gls_endocardial"
    STROKE_VOLUME = "stroke_volume"
    STROKE_VOLUME_INDEX = "stroke_volume_index"
    CARDIAC_OUTPUT = "cardiac_output"
    CARDIAC_INDEX = "cardiac_index"
    LA_VOLUME = "la_volume"
    LA_VOLUME_AREA_LENGTH = "la_volume_area_length"
    LA_VOLUME_INDEX = "la_volume_index"
    LA_DIAMETER = "la_diameter"
    RA_VOLUME = "ra_volume"
    RA_VOLUME_INDEX = "ra_volume_index"
    RVIDD = "rvidd"
    RV_ED_AREA = "rv_ed_area"
    RV_ES_AREA = "rv_es_area"
    RV_FAC = "rv_fac"

    @property
    def display_name(self) -> str:
        """The quantity in words."""
        return _ENTRIES[self].title

    @property
    def unit(self) -> str:
        """UCUM unit: such as ``mm``, ``cm2``, ``mL``, ``%``, ``g``, ``g/m2``, ``L/min``, ``1``."""
        return _ENTRIES[self].unit

    @property
    def code(self) -> Code | None:
        """LOINC code; None if there is no code with exactly this meaning."""
        return _ENTRIES[self].code

    @property
    def plausible_range(self) -> tuple[float, float]:
        """Inclusive range in ``unit``; a value outside is kept and flagged, never dropped."""
        return _ENTRIES[self].plausible

    @property
    def needs_spacing(self) -> bool:
        """Whether the quantity can only be measured with a calibrated pixel spacing."""
        return _ENTRIES[self].needs_spacing


_ENTRIES = {
    Quantity.LVEF: _Entry(
        "LV ejection fraction",
        "%",
        Code("18043-0", "LN", "Left Ventricular Ejection Fraction by US"),
        (5, 90),
        False,
    ),
    Quantity.LVEF_DISCS: _Entry(
        "LV ejection fraction, method of discs",
        "%",
        Code("18043-0", "LN", "Left Ventricular Ejection Fraction by US"),
        (5, 90),
        False,
    ),
    Quantity.EDV: _Entry(
        "LV end-diastolic volume",
        "mL",
        Code("18026-5", "LN", "Left Ventricular End Diastolic Volume"),
        (20, 500),
        True,
    ),
    Quantity.ESV: _Entry(
        "LV end-systolic volume",
        "mL",
        Code("18148-7", "LN", "Left Ventricular End Systolic Volume"),
        (5, 450),
        True,
    ),
    Quantity.IVSD: _Entry(
        "Interventricular septum, end-diastole",
        "mm",
        Code("18154-5", "LN", "Interventricular Septum Diastolic Thickness"),
        (3, 40),
        True,
    ),
    Quantity.LVIDD: _Entry(
        "LV internal diameter, end-diastole",
        "mm",
        Code("29436-3", "LN", "Left Ventricle Internal End Diastolic Dimension"),
        (20, 100),
        True,
    ),
    Quantity.LVPWD: _Entry(
        "LV posterior wall, end-diastole",
        "mm",
        Code("18152-9", "LN", "Left Ventricle Posterior Wall Diastolic Thickness"),
        (3, 40),
        True,
    ),
    Quantity.LV_MASS: _Entry(
        "LV mass, cube formula", "g", Code("18087-7", "LN", "Left Ventricle Mass"), (30, 800), True
    ),
    Quantity.LV_MASS_INDEX: _Entry("LV mass / BSA", "g/m2", None, (15, 400), True),
    Quantity.RWT: _Entry("Relative wall thickness", "1", None, (0.1, 1.5), True),
    Quantity.EDV_INDEX: _Entry("LV end-diastolic volume / BSA", "mL/m2", None, (10, 250), True),
    Quantity.ESV_INDEX: _Entry("LV end-systolic volume / BSA", "mL/m2", None, (2, 230), True),
    Quantity.BSA: _Entry("Body surface area", "m2", None, (0.1, 3.5), False),
    Quantity.HEART_RATE: _Entry("Heart rate", "/min", Code("8867-4", "LN", "Heart rate"), (30, 220), False),
    Quantity.LV_LENGTH: _Entry("LV length, end-diastole", "mm", None, (30, 150), True),
    Quantity.SPHERICITY_INDEX: _Entry("LV sphericity index, end-diastole", "1", None, (0.2, 1.1), True),
    Quantity.GLS_ENDOCARDIAL: _Entry("Global longitudinal strain, endocardial contour", "%", None, (-40, -1), False),
    Quantity.STROKE_VOLUME: _Entry("LV stroke volume, method of discs", "mL", None, (5, 250), True),
    Quantity.STROKE_VOLUME_INDEX: _Entry("LV stroke volume / BSA", "mL/m2", None, (3, 125), True),
    Quantity.CARDIAC_OUTPUT: _Entry("Cardiac output, method of discs", "L/min", None, (0.5, 25), True),
    Quantity.CARDIAC_INDEX: _Entry("Cardiac output / BSA", "L/min/m2", None, (0.3, 12), True),
    Quantity.LA_VOLUME: _Entry("LA volume, end-systole, method of discs", "mL", None, (5, 400), True),
    Quantity.LA_VOLUME_AREA_LENGTH: _Entry("LA volume, end-systole, area-length", "mL", None, (5, 400), True),
    Quantity.LA_VOLUME_INDEX: _Entry("LA volume / BSA", "mL/m2", None, (3, 200), True),
    Quantity.LA_DIAMETER: _Entry(
        "LA anteroposterior diameter, end-systole",
        "mm",
        Code("79975-9", "LN", "Left atrial end systolic diameter (AP) 2D"),
        (10, 90),
        True,
    ),
    Quantity.RA_VOLUME: _Entry("RA volume, end-systole, method of discs", "mL", None, (5, 400), True),
    Quantity.RA_VOLUME_INDEX: _Entry("RA volume / BSA", "mL/m2", None, (3, 200), True),
    Quantity.RVIDD: _Entry(
        "RV internal diameter on PLAX, end-diastole",
        "mm",
        Code("20304-2", "LN", "Right Ventricular Internal Diastolic Dimension"),
        (5, 80),
        True,
    ),
    Quantity.RV_ED_AREA: _Entry(
        "RV area, end-diastole", "cm2", Code("80081-3", "LN", "Right ventricular end diastolic area 4C"), (4, 70), True
    ),
    Quantity.RV_ES_AREA: _Entry(
        "RV area, end-systole", "cm2", Code("80082-1", "LN", "Right ventricular end systolic area 4C"), (1.5, 60), True
    ),
    Quantity.RV_FAC: _Entry(
        "RV fractional area change",
        "%",
        Code("79936-1", "LN", "Right ventricular fractional area change"),
        (5, 80),
        False,
    ),
}
