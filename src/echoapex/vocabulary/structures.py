"""The six cardiac structures that EchoApex segments, and the views that show them.

The enum value of a structure is its label in every label map that EchoApex writes; 0 is background. The choice of these
six is ours (docs/explanation/paper.md).
"""

from enum import IntEnum

from echoapex.vocabulary.codes import Code
from echoapex.vocabulary.views import View


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
        return _TITLES[self]

    @property
    def code(self) -> Code:
        """SNOMED CT code, as DICOM segmentation requires it."""
        return _CODES[self]

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


_TITLES = {
    Structure.LV_CAVITY: "LV cavity",
    Structure.LV_MYOCARDIUM: "LV myocardium",
    Structure.LEFT_ATRIUM: "Left atrium",
    Structure.RIGHT_VENTRICLE: "Right ventricle",
    Structure.RIGHT_ATRIUM: "Right atrium",
    Structure.AORTIC_ROOT: "Aortic root",
}

_CODES = {
    Structure.LV_CAVITY: Code("87878005", "SCT", "Left ventricle"),
    Structure.LV_MYOCARDIUM: Code("49848007", "SCT", "Left Ventricle Myocardium"),
    Structure.LEFT_ATRIUM: Code("82471001", "SCT", "Left atrium"),
    Structure.RIGHT_VENTRICLE: Code("53085002", "SCT", "Right ventricle"),
    Structure.RIGHT_ATRIUM: Code("73829009", "SCT", "Right atrium"),
    Structure.AORTIC_ROOT: Code("8128003", "SCT", "Aortic Root"),
}

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
