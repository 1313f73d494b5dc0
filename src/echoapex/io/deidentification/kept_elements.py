"""What may stay in a de-identified header beyond the standard's table, value by value.

The Basic Profile names what has to go; everything else may stay, free text of any kind included. EchoApex is stricter:
beyond what an option retains, only values that cannot name anybody stay. These are numbers that describe the image,
words from closed lists, codes of public coding schemes with the meaning of the dictionary, and registered UIDs.
"""

from __future__ import annotations

import math
import re
from functools import cache

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from echoapex.io.dicom.header import text_of, texts_of
from echoapex.io.dicom.reader import probe_kind, vendor_of

REGIONS = "SequenceOfUltrasoundRegions"
NUMBER_VRS = frozenset({"US", "SS", "UL", "SL", "FL", "FD", "DS", "IS"})
_LARGEST_WHOLE = 10_000_000

KEPT_NUMBERS = frozenset(
    (
        *("SeriesNumber", "InstanceNumber", "AcquisitionNumber", "StageNumber", "NumberOfStages", "ViewNumber"),
        *("NumberOfViewsInStage", "EventElapsedTimes", "NumberOfEventTimers"),
        *("NumberOfFrames", "FrameTime", "FrameTimeVector", "FrameDelay", "CineRate", "RecommendedDisplayFrameRate"),
        *("ActualFrameDuration", "EffectiveDuration", "PreferredPlaybackSequencing", "StartTrim", "StopTrim"),
        *("AcquisitionDuration", "RepresentativeFrameNumber", "HeartRate", "RWaveTimeVector", "TriggerTime"),
        *("NominalInterval", "LowRRValue", "HighRRValue", "IVUSPullbackRate", "IVUSGatedRate"),
        *("MechanicalIndex", "BoneThermalIndex", "CranialThermalIndex", "SoftTissueThermalIndex"),
        *("SoftTissueFocusThermalIndex", "SoftTissueSurfaceThermalIndex", "DepthOfScanField", "FocusDepth"),
        *(
            "UltrasoundColorDataPresent",
            "PixelAspectRatio",
            "LossyImageCompressionRatio",
            "WindowCenter",
            "WindowWidth",
        ),
        *("RescaleSlope", "RescaleIntercept"),
    )
)
"""Numbers outside the regions that stay; in the ultrasound regions every number of the dictionary stays."""

KEPT_CODES = frozenset(
    (
        *("AnatomicRegionSequence", "AnatomicRegionModifierSequence", "PrimaryAnatomicStructureSequence"),
        *("ViewCodeSequence", "ViewModifierCodeSequence", "StageCodeSequence"),
    )
)
"""Sequences of codes that stay, if their codes are in the dictionary."""

_JPEGS = ("ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_2", "ISO_13818_2", "ISO_14496_10", "ISO_23008_2")
_PARTS = ("HEART", "CHEST", "THORAX", "AORTA", "ABDOMEN", "NECK", "CAROTID", "BREAST", "KIDNEY", "THYROID", "SHOULDER")
_USES: tuple[str, ...] = ("ABDOMINAL", "BREAST", "CHEST", "ENDOCAVITARY", "ENDORECTAL", "ENDOVAGINAL", "EPICARDIAL")
_USES += (
    "FETAL HEART",
    "GYNECOLOGY",
    "INTRACARDIAC",
    "INTRAOPERATIVE",
    "INTRAVASCULAR",
    "MUSCULOSKELETAL",
    "NEONATAL HEAD",
)
_USES += ("OBSTETRICAL", "OPHTHALMIC", "PEDIATRIC", "PELVIC", "RETROPERITONEAL", "SCROTAL", "SMALL PARTS", "TEE")
_USES += ("THYROID", "TRANSCRANIAL", "TTE", "US BIOPSY", "VASCULAR", "")
_PROBES: tuple[str, ...] = (
    "SECTOR_PHASED",
    "SECTOR_MECH",
    "SECTOR_ANNULAR",
    "LINEAR",
    "CURVED LINEAR",
    "SINGLE CRYSTAL",
    "SPLIT XTAL CWD",
)
_PROBES += ("IV_PHASED", "IV_ROT XTAL", "IV_ROT MIRROR", "ENDOCAV_PA", "ENDOCAV_MECH", "ENDOCAV_CLA", "ENDOCAV_AA")
_PROBES += ("ENDOCAV_LINEAR", "VECTOR_PHASED")
CLOSED_LISTS = {
    "Modality": frozenset(("US", "IVUS", "OT", "XC", "SC")),
    "TransducerType": frozenset(_PROBES),
    "BodyPartExamined": frozenset(_PARTS),
    "Laterality": frozenset("LR"),
    "ImageLaterality": frozenset("LRUB"),
    "LossyImageCompression": frozenset(("00", "01")),
    "LossyImageCompressionMethod": frozenset(_JPEGS),
    "PresentationIntentType": frozenset(("FOR PRESENTATION", "FOR PROCESSING")),
    "StageName": frozenset(
        ("REST", "BASELINE", "LOW DOSE", "PEAK DOSE", "PEAK", "RECOVERY", "POST EXERCISE", "STRESS")
    ),
    "ImageType": frozenset(("ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", *_USES)),
    "PatientSex": frozenset("MFO"),
}
"""Text that stays if every value is in the list; modes in ImageType are four hexadecimal digits."""

_MODES = re.compile(r"[0-9A-F]{4}")
_SCHEMES = ("SCT", "DCM", "LN", "UCUM")
_OLD_SNOMED = frozenset(("SRT", "SNM3", "99SDM"))

_ECHO_WORDS = """
2d 3d 4d a2c a3c a4c a5c plax psax sax lax subcostal suprasternal apical parasternal chamber view echo echocardiogram
echocardiography transthoracic transesophageal tte tee ice stress rest exercise dobutamine contrast doppler colour color
cw pw tdi tissue spectral continuous pulsed wave m mode mmode b cine loop still left right ventricle ventricular atrium
atrial lv rv la ra mitral aortic tricuspid pulmonary valve septum vena cava ivc svc aorta arch heart cardiac fetal
pediatric adult complete limited baseline peak recovery short long axis two three four five strain us ultrasound
ejection fraction ef diastolic systolic function focused
"""
ECHO_WORDS = frozenset(_ECHO_WORDS.split())
"""The only words of a description that stay with the option ``descriptors``."""


def is_finite_number(value: object, *, is_whole: bool = False) -> bool:
    """Whether a value is a number; a whole number that is too large for a count may be an identifier."""
    try:
        number = float(str(value))
    except ValueError:
        return False
    return math.isfinite(number) and (not is_whole or abs(number) < _LARGEST_WHOLE)


def values_in_closed_list(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of a text element if all are in its closed list; empty otherwise.

    Modes that ImageType may hold as its fourth value are accepted; unknown values behind the second are dropped.
    """
    values = texts_of(dataset, keyword)
    known = CLOSED_LISTS[keyword]
    if keyword != "ImageType":
        return values if values and all(value in known for value in values) else ()
    kept = list(values[:3])
    if len(kept) < 2 or any(value not in known for value in kept[:2]):
        return ("DERIVED", "PRIMARY")
    kept[2:] = [value if value in known else "" for value in kept[2:]]
    modes = values[3] if len(values) > 3 and _MODES.fullmatch(values[3]) else ""
    return (*kept, modes) if modes else tuple(kept)


def known_code(item: Dataset) -> tuple[str, str, str] | None:
    """Value, scheme and dictionary meaning of a coded item; None if the code is not in the public dictionaries.

    Codes of the old SNOMED schemes are compared through the mapping of the standard and written as SCT.
    """
    value, scheme = text_of(item, "CodeValue"), text_of(item, "CodingSchemeDesignator")
    if scheme in _OLD_SNOMED:
        value, scheme = _old_snomed().get(value, ""), "SCT"
    meaning = public_meaning(value, scheme)
    return (value, scheme, meaning) if meaning else None


def public_meaning(value: str, scheme: str) -> str:
    """The meaning of a code in the dictionary of a public scheme (SCT, DCM, LN, UCUM); empty if it is not there."""
    return _meanings(scheme).get(value, "") if scheme in _SCHEMES else ""


def is_registered_uid(value: str) -> bool:
    """Whether a UID is in the dictionary of the standard (a class, a transfer syntax), so that it names nothing."""
    uid = UID(value)
    return not uid.is_private and str(uid.name) != value


def known_vendor(dataset: Dataset) -> str:
    """The vendor from a fixed list, in capitals; empty if unknown."""
    vendor = vendor_of(text_of(dataset, "Manufacturer"))
    return "" if vendor == "other" else vendor.upper()


def known_probe(dataset: Dataset) -> str:
    """``TEE`` or ``ICE`` from the transducer's model; empty for others, whose type is in TransducerType."""
    kind = probe_kind(texts_of(dataset, "TransducerType"), texts_of(dataset, "TransducerData"))
    return kind.upper() if kind in ("tee", "ice") else ""


def only_echo_words(text: str) -> str:
    """The words of a description that are in the closed list, in capitals.

    >>> only_echo_words("Stress echo A4C, Mr. Quartz")
    'STRESS ECHO A4C'
    """
    words = re.findall(r"[A-Za-z0-9]+", text)
    return " ".join(word.upper() for word in words if word.lower() in ECHO_WORDS)[:64].strip()


@cache
def _meanings(scheme: str) -> dict[str, str]:
    """Code value to meaning, of a public scheme."""
    collection = getattr(codes, scheme)
    found = {}
    for name in collection.dir():
        code = getattr(collection, name)
        found[code.value] = code.meaning
    return found


@cache
def _old_snomed() -> dict[str, str]:
    """Old SNOMED identifiers (SRT) to concept identifiers (SCT)."""
    from pydicom.sr._snomed_dict import mapping

    return dict(mapping["SRT"])
