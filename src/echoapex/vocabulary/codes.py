"""A coded concept as DICOM writes it (PS3.3 section 8.8)."""

from typing import NamedTuple


class Code(NamedTuple):
    """One concept of a coding scheme: SNOMED CT (SCT), LOINC (LN), DICOM (DCM) or UCUM."""

    value: str
    scheme: str
    meaning: str
