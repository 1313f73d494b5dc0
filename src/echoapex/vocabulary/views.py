"""The 18 echocardiographic views that EchoApex classifies, their probes, and the six structures that they show.

The paper (arXiv 2410.11092) classifies 18 views and segments six structures, but the text that could be read does not
name them. Both lists are our own choice (docs/explanation/paper.md). Codes of views are those of DICOM CID 12226
"Echocardiography Image View", if it has the view.

The enum value of a structure is its label in every label map that EchoApex writes; 0 is background.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from echoapex.vocabulary.codes import Code


class Probe(StrEnum):
    """Type of examination, by the position of the transducer: transthoracic, transoesophageal or intracardiac."""

    TTE = "TTE"
    TEE = "TEE"
    ICE = "ICE"


class View(StrEnum):
    """A standard imaging plane; the order is the label order of all shipped view decoders."""

    A4C = "A4C"
    A2C = "A2C"
    A3C = "A3C"
    A5C = "A5C"
    PLAX = "PLAX"
    RV_INFLOW = "RV_INFLOW"
    PSAX_AV = "PSAX_AV"
    PSAX_MV = "PSAX_MV"
    PSAX_PM = "PSAX_PM"
    PSAX_APEX = "PSAX_APEX"
    SUBCOSTAL_4C = "SUBCOSTAL_4C"
    SUBCOSTAL_IVC = "SUBCOSTAL_IVC"
    SUPRASTERNAL = "SUPRASTERNAL"
    TEE_4C = "TEE_4C"
    TEE_LAX = "TEE_LAX"
    TEE_BICAVAL = "TEE_BICAVAL"
    ICE_HOME = "ICE_HOME"
    ICE_LA = "ICE_LA"

    @property
    def probe(self) -> Probe:
        """The probe that acquires this view."""
        prefix = self.value.split("_")[0]
        return Probe(prefix) if prefix in ("TEE", "ICE") else Probe.TTE

    @property
    def display_name(self) -> str:
        """The view in words."""
        return _TITLES[self]

    @property
    def code(self) -> Code | None:
        """The code of DICOM CID 12226; None if the table has no such view."""
        return _CODES.get(self)

    @property
    def is_apical(self) -> bool:
        """Whether it is a transthoracic view from the apex, along the long axis of the LV."""
        return self in (View.A4C, View.A2C, View.A3C, View.A5C)

    @property
    def shows_whole_lv_long_axis(self) -> bool:
        """Whether the LV can be measured by the method of discs in this view (apical 4C and 2C)."""
        return self in (View.A4C, View.A2C)


_TITLES = {
    View.A4C: "Apical four-chamber",
    View.A2C: "Apical two-chamber",
    View.A3C: "Apical long-axis (three-chamber)",
    View.A5C: "Apical five-chamber",
    View.PLAX: "Parasternal long-axis",
    View.RV_INFLOW: "Right ventricular inflow",
    View.PSAX_AV: "Parasternal short-axis, aortic valve",
    View.PSAX_MV: "Parasternal short-axis, mitral valve",
    View.PSAX_PM: "Parasternal short-axis, papillary muscles",
    View.PSAX_APEX: "Parasternal short-axis, apex",
    View.SUBCOSTAL_4C: "Subcostal four-chamber",
    View.SUBCOSTAL_IVC: "Subcostal inferior vena cava",
    View.SUPRASTERNAL: "Suprasternal aortic arch",
    View.TEE_4C: "TEE mid-oesophageal four-chamber",
    View.TEE_LAX: "TEE mid-oesophageal long-axis",
    View.TEE_BICAVAL: "TEE mid-oesophageal bicaval",
    View.ICE_HOME: "ICE home view",
    View.ICE_LA: "ICE left atrial view",
}

_CODES = {
    View.A4C: Code("399214001", "SCT", "Apical four chamber"),
    View.A2C: Code("399232001", "SCT", "Apical two chamber"),
    View.A3C: Code("399339008", "SCT", "Apical long axis"),
    View.PLAX: Code("399139001", "SCT", "Parasternal long axis"),
    View.RV_INFLOW: Code("443082005", "SCT", "Parasternal long axis view of the RV inflow tract"),
    View.PSAX_AV: Code("399239005", "SCT", "Parasternal short axis at the aortic valve level"),
    View.PSAX_MV: Code("399036006", "SCT", "Parasternal short axis at the Mitral Valve level"),
    View.PSAX_PM: Code("399271003", "SCT", "Parasternal short axis at the Papillary Muscle level"),
    View.SUPRASTERNAL: Code("443562002", "SCT", "Suprasternal long axis view of aortic arch"),
}


class Structure(IntEnum):
    """A segmented structure; the enum value is its label in label maps."""

    LV_CAVITY = 1
    LV_MYOCARDIUM = 2
    LEFT_ATRIUM = 3
    RIGHT_VENTRICLE = 4
    RIGHT_ATRIUM = 5
    AORTIC_ROOT = 6

    @property
    def key(self) -> str:
        """The name in files: ``lv_cavity``."""
        return self.name.lower()

    @property
    def display_name(self) -> str:
        """The structure in words."""
        return _STRUCTURE_TITLES[self]

    @property
    def code(self) -> Code:
        """SNOMED CT code, as DICOM segmentation requires it."""
        return _STRUCTURE_CODES[self]

    @classmethod
    def from_key(cls, key: str) -> "Structure":
        """The structure called ``key`` in files.

        Raises:
            ValueError: there is no structure with this name.
        """
        try:
            return cls[key.upper()]
        except KeyError:
            raise ValueError(f"{key!r} is no structure; known: {', '.join(s.key for s in cls)}") from None


_STRUCTURE_TITLES = {
    Structure.LV_CAVITY: "LV cavity",
    Structure.LV_MYOCARDIUM: "LV myocardium",
    Structure.LEFT_ATRIUM: "Left atrium",
    Structure.RIGHT_VENTRICLE: "Right ventricle",
    Structure.RIGHT_ATRIUM: "Right atrium",
    Structure.AORTIC_ROOT: "Aortic root",
}

_STRUCTURE_CODES = {
    Structure.LV_CAVITY: Code("87878005", "SCT", "Left ventricle"),
    Structure.LV_MYOCARDIUM: Code("49848007", "SCT", "Left Ventricle Myocardium"),
    Structure.LEFT_ATRIUM: Code("82471001", "SCT", "Left atrium"),
    Structure.RIGHT_VENTRICLE: Code("53085002", "SCT", "Right ventricle"),
    Structure.RIGHT_ATRIUM: Code("73829009", "SCT", "Right atrium"),
    Structure.AORTIC_ROOT: Code("8128003", "SCT", "Aortic Root"),
}

CHAMBERS = (Structure.LV_CAVITY, Structure.LEFT_ATRIUM, Structure.RIGHT_VENTRICLE, Structure.RIGHT_ATRIUM)
"""The four chambers of the heart, each by its blood."""

_LV = (Structure.LV_CAVITY, Structure.LV_MYOCARDIUM)
_FOUR_CHAMBERS = (*_LV, Structure.LEFT_ATRIUM, Structure.RIGHT_VENTRICLE, Structure.RIGHT_ATRIUM)

VISIBLE_STRUCTURES: dict[View, tuple[Structure, ...]] = {
    View.A4C: _FOUR_CHAMBERS,
    View.A2C: (*_LV, Structure.LEFT_ATRIUM),
    View.A3C: (*_LV, Structure.LEFT_ATRIUM, Structure.AORTIC_ROOT),
    View.A5C: (*_FOUR_CHAMBERS, Structure.AORTIC_ROOT),
    View.PLAX: (*_LV, Structure.LEFT_ATRIUM, Structure.RIGHT_VENTRICLE, Structure.AORTIC_ROOT),
    View.RV_INFLOW: (Structure.RIGHT_VENTRICLE, Structure.RIGHT_ATRIUM),
    View.PSAX_AV: (
        Structure.LEFT_ATRIUM,
        Structure.RIGHT_VENTRICLE,
        Structure.RIGHT_ATRIUM,
        Structure.AORTIC_ROOT,
    ),
    View.PSAX_MV: (*_LV, Structure.RIGHT_VENTRICLE),
    View.PSAX_PM: (*_LV, Structure.RIGHT_VENTRICLE),
    View.PSAX_APEX: _LV,
    View.SUBCOSTAL_4C: _FOUR_CHAMBERS,
    View.SUBCOSTAL_IVC: (Structure.RIGHT_ATRIUM,),
    View.SUPRASTERNAL: (Structure.LEFT_ATRIUM,),
    View.TEE_4C: _FOUR_CHAMBERS,
    View.TEE_LAX: (*_LV, Structure.LEFT_ATRIUM, Structure.AORTIC_ROOT),
    View.TEE_BICAVAL: (Structure.LEFT_ATRIUM, Structure.RIGHT_ATRIUM),
    View.ICE_HOME: (Structure.RIGHT_VENTRICLE, Structure.RIGHT_ATRIUM),
    View.ICE_LA: (Structure.LEFT_ATRIUM, Structure.RIGHT_ATRIUM),
}
"""The structures that each view shows; automatic segmentation looks only for these."""
