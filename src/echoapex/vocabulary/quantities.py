"""The measured quantities, each with its unit, LOINC code and plausible range.

The plausible ranges are wide: a value outside is more likely an error than a disease, and it is flagged. They are based
on the normal limits of Lang et al., ASE/EACVI 2015, doi 10.1016/j.echo.2014.10.003, section 2 (EDV 46 to 150 mL, ESV 14
to 61 mL, LVEF 52 to 74 % and severely abnormal below 30 %, walls 6 to 10 mm, LVIDd 38 to 58 mm, LV mass 67 to 224 g),
with room for children and for the largest hearts; how much room is our own choice. The range of the heart rate is that
of ``measure.reference_limits``.
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

    @property
    def display_name(self) -> str:
        """The quantity in words."""
        return _ENTRIES[self].title

    @property
    def unit(self) -> str:
        """UCUM unit: ``mm``, ``mL``, ``%``, ``g``, ``g/m2``, ``1``."""
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
}
