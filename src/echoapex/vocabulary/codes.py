"""A coded concept as DICOM writes it (PS3.3 section 8.8), and the concepts that DICOM reports are made of.

The meanings are those of PS3.16, so that a receiver that shows only the meaning shows the standard's word.
"""

from typing import NamedTuple


class Code(NamedTuple):
    """One concept of a coding scheme: SNOMED CT (SCT), LOINC (LN), DICOM (DCM) or UCUM."""

    value: str
    scheme: str
    meaning: str


OWN_SCHEME = "99ECHOAPEX"
"""Coding scheme of concepts that no standard has; private schemes begin with 99 (PS3.16 section 8.2)."""

# titles and containers of the reports: TID 5300, TID 5200 and TID 1500
ECHO_REPORT = Code("125200", "DCM", "Adult Echocardiography Procedure Report")
PATIENT_CHARACTERISTICS = Code("121118", "DCM", "Patient Characteristics")
FINDINGS = Code("121070", "DCM", "Findings")
MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
PRE_COORDINATED = Code("125301", "DCM", "Pre-coordinated Measurements")
POST_COORDINATED = Code("125302", "DCM", "Post-coordinated Measurements")
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
ECHOCARDIOGRAPHY_REPORT = Code("42148-7", "LN", "Echocardiography Report")
ECHOCARDIOGRAPHY = Code("40701008", "SCT", "Echocardiography")

# names of what is said about a value
COMMENT = Code("121106", "DCM", "Comment")
DERIVATION = Code("121401", "DCM", "Derivation")
SHORT_LABEL = Code("125309", "DCM", "Short Label")
SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")
MEASUREMENT_TYPE = Code("125306", "DCM", "Measurement Type")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
OBSERVATION_TYPE = Code("125305", "DCM", "Finding Observation Type")
MEASURED_PROPERTY = Code("125307", "DCM", "Measured Property")
MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")
IMAGE_MODE = Code("399264008", "SCT", "Image Mode")
IMAGE_VIEW = Code("111031", "DCM", "Image View")
CARDIAC_CYCLE_POINT = Code("272518008", "SCT", "Cardiac Cycle Point")
MEASUREMENT_DIVISOR = Code("125308", "DCM", "Measurement Divisor")

# what is said
MEAN = Code("373098007", "SCT", "Mean")
MEDIAN = Code("373099004", "SCT", "Median")
DIRECTLY_MEASURED = Code("125316", "DCM", "Directly measured")
CALCULATED = Code("125315", "DCM", "Calculated")
INDEXED = Code("125313", "DCM", "Indexed")
FRACTIONAL_CHANGE = Code("125314", "DCM", "Fractional Change")
RATIO = Code("118586006", "SCT", "Ratio")
STRUCTURE_OF_SITE = Code("125311", "DCM", "Structure of the Finding Site")
BEHAVIOUR_OF_SITE = Code("125312", "DCM", "Behavior of the Finding Site")
EJECTION_FRACTION = Code("70822001", "SCT", "Cardiac ejection fraction")
VOLUME = Code("118565006", "SCT", "Volume")
THICKNESS = Code("59089-3", "LN", "Thickness")
INTERNAL_DIMENSION = Code("59090-1", "LN", "Internal Dimension")
MASS = Code("118538004", "SCT", "Mass")
AREA = Code("42798000", "SCT", "Area")
LENGTH = Code("410668003", "SCT", "Length")
DIAMETER = Code("81827009", "SCT", "Diameter")
STROKE_VOLUME = Code("90096001", "SCT", "Stroke Volume")
FLOW_RATE = Code("33878-0", "LN", "Volume Flow Rate")
LONGITUDINAL_STRAIN = Code("130670", "DCM", "Longitudinal Lagrangian Strain")
DISKS_SINGLE_PLANE = Code("125208", "DCM", "Method of Disks, Single Plane")
DISKS_BIPLANE = Code("125207", "DCM", "Method of Disks, Biplane")
AREA_LENGTH_BIPLANE = Code("125204", "DCM", "Area-Length Biplane")
AREA_LENGTH_SINGLE_PLANE = Code("125205", "DCM", "Area-Length Single Plane")
PLANIMETRY = Code("125220", "DCM", "Planimetry")
ENDOCARDIAL_METHOD = Code("130683", "DCM", "Endocardial Method")
CUBE_METHOD = Code("125206", "DCM", "Cube Method")
END_DIASTOLE = Code("416190007", "SCT", "End diastole")
END_SYSTOLE = Code("416430001", "SCT", "End Systole")
FULL_CARDIAC_CYCLE = Code("125324", "DCM", "Full Cardiac Cycle")
TWO_D_MODE = Code("399064001", "SCT", "2D mode")
LEFT_VENTRICLE = Code("87878005", "SCT", "Left ventricle")
LEFT_ATRIUM = Code("82471001", "SCT", "Left atrium")
RIGHT_ATRIUM = Code("73829009", "SCT", "Right atrium")
RIGHT_VENTRICLE = Code("53085002", "SCT", "Right ventricle")
INTERVENTRICULAR_SEPTUM = Code("589001", "SCT", "Interventricular septum")
BODY_SURFACE_AREA = Code("8277-6", "LN", "BSA")
HEART_RATE = Code("8867-4", "LN", "Heart rate")

# segmentation
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")

# worklist: CID 9231 (what a step is) and CID 9300 (why it was given up)
IMAGE_PROCESSING = Code("110001", "DCM", "Image Processing")
OBJECT_SET_INCOMPLETE = Code("110523", "DCM", "Object Set incomplete")
OBJECT_TYPES_NOT_SUPPORTED = Code("110522", "DCM", "Object Types not supported")
DISCONTINUED = Code("110513", "DCM", "Discontinued for unspecified reason")

_UNIT_MEANINGS = {"1": "no units", "%": "Percent", "cm2": "Centimeter**2"}


def unit_code(unit: str) -> Code:
    """The UCUM code of a unit of :class:`~echoapex.vocabulary.Quantity`.

    >>> unit_code("1")
    Code(value='1', scheme='UCUM', meaning='no units')
    """
    return Code(unit, "UCUM", _UNIT_MEANINGS.get(unit, unit))
