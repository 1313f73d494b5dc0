"""De-identify the header of an ultrasound image: the profile's table first, then a closed list of what may stay.

Every element of the source is looked at once and either written anew or left out. Nothing is copied as bytes: numbers
are parsed and written again, text stays only where an option retains it. Elements that cannot be read are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from echoapex.io.clip_source import muted_pydicom
from echoapex.io.deidentification.kept_elements import (
    CLOSED_LISTS,
    KEPT_CODES,
    KEPT_NUMBERS,
    NUMBER_VRS,
    REGIONS,
    is_finite_number,
    is_registered_uid,
    known_code,
    known_probe,
    known_vendor,
    only_echo_words,
    values_in_closed_list,
)
from echoapex.io.deidentification.profile import Action, Profile, ProfileOption, rule_of
from echoapex.io.deidentification.project_key import ProjectKey
from echoapex.io.dicom.header import text_of

METHOD_TEXT = "EchoApex; PS3.15 Basic Profile; blank outside the ultrasound"
"""DeidentificationMethod (0012,0063) of every result."""
_TEXT_VRS = frozenset(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"))
_DUMMIES: dict[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT", "PN"), "REMOVED"),
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "AS": "000Y",
    "UR": "https://removed.invalid",
    **dict.fromkeys(("DS", "IS"), "0"),
    **dict.fromkeys(("FD", "FL", "SL", "SS", "UL", "US", "SV", "UV"), 0),
}
_AGE = re.compile(r"(\d{3})([DWMY])")
_OLDEST_AGE_YEARS = 89
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_DATE_TIME = re.compile(r"(\d{4})(\d{2})(\d{2})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")
_TIME = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?")
_DEEPEST = 12
_POINTERS = {Tag("FrameTime"), Tag("FrameTimeVector")}
_REWRITTEN = frozenset(
    (
        *("SpecificCharacterSet", "PatientName", "PatientID", "PatientIdentityRemoved", "DeidentificationMethod"),
        *("DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified", "BurnedInAnnotation"),
        *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated"),
        *("BitsStored", "HighBit", "PixelRepresentation", "RecognizableVisualFeatures"),
    )
)
"""Elements that are written by the de-identification itself; those of the source are dropped without a word."""

_TYPE_2: tuple[str, ...] = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber")
_TYPE_2 += ("ReferringPhysicianName", "Manufacturer", "SeriesNumber", "InstanceNumber")
"""Elements that an ultrasound image must have, with an empty value if there is none."""


@dataclass
class HeaderRecord:
    """What happened to the elements of a header: outcome, then name of the attribute, then how often.

    Names come from the dictionary of the standard. Private and unknown elements are only counted, because the name of a
    private creator may be anything.
    """

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, outcome: str, name: str) -> None:
        """Count one element."""
        self.outcomes.setdefault(outcome, Counter())[name] += 1


@dataclass(frozen=True)
class CleanedHeader:
    """A new header without pixels, what was done, and the pseudonyms that the file names are made of."""

    dataset: Dataset
    record: HeaderRecord
    patient: str
    study: str


def patient_of(dataset: Dataset) -> str:
    """What identifies the patient: the ID, else name and birth date, else the study; for keyed digests only."""
    patient_id = text_of(dataset, "PatientID").upper()
    if patient_id:
        return f"id {patient_id}"
    name, born = (text_of(dataset, keyword).upper() for keyword in ("PatientName", "PatientBirthDate"))
    return f"name {name} {born}" if name else f"study {text_of(dataset, 'StudyInstanceUID')}"


def clean_header(source: Dataset, profile: Profile, key: ProjectKey, digest: str) -> CleanedHeader:
    """De-identify a header.

    Args:
        source: every element up to the pixels; it is not modified.
        profile: the profile and its options.
        key: key of the project.
        digest: SHA-256 of the file, which stands in for a missing instance UID.

    Returns:
        The new header; the caller adds the elements that describe the new pixels.
    """
    patient = patient_of(source)
    cleaner = _Cleaner(profile, key, patient)
    with muted_pydicom():
        dataset = cleaner.clean(source, depth=0)
        # an element of a closed list that needs another one to be understood
        if vendor := known_vendor(source):
            dataset.setdefault("Manufacturer", vendor)
        if (probe := known_probe(source)) and "TransducerData" not in dataset:
            dataset.TransducerData = probe
    names = key.pseudonym("patient", patient)
    study = text_of(source, "StudyInstanceUID")
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = f"ANON^{names}", names
    for keyword in _TYPE_2:
        dataset.setdefault(keyword, "")
    for keyword, fallback in (("SOPInstanceUID", digest), ("SeriesInstanceUID", study), ("StudyInstanceUID", patient)):
        dataset.setdefault(keyword, key.uid(f"missing {keyword} {fallback}"))
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD_TEXT
    dataset.LongitudinalTemporalInformationModified = profile.longitudinal_information
    return CleanedHeader(dataset, cleaner.record, names, key.pseudonym("study", study or patient))


def method_items(codes: Iterable[tuple[str, str]]) -> list[Dataset]:
    """Items of DeidentificationMethodCodeSequence (0012,0064)."""
    items = []
    for value, meaning in codes:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    return items


def shift_date(text: str, days: int) -> str:
    """A DA or DT value moved back by whole days; the time of day and the time zone stay. Empty if it is no date.

    >>> shift_date("20200301", 1), shift_date("20200301123000.5", 366), shift_date("March 1", 1)
    ('20200229', '20190301123000.5', '')
    """
    found = _DATE.fullmatch(text.strip()) or _DATE_TIME.fullmatch(text.strip())
    if found is None:
        return ""
    try:
        moved = date(int(found[1]), int(found[2]), int(found[3])) - timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    rest = "".join(part or "" for part in found.groups()[3:])
    return f"{moved:%Y%m%d}{rest}" if moved.year > 999 else ""


class _Cleaner:
    """Writes a new data set, element by element."""

    def __init__(self, profile: Profile, key: ProjectKey, patient: str) -> None:
        self._profile = profile
        self._key = key
        self._days = key.shift_days(patient)
        self.record = HeaderRecord()
        self._acts: dict[Action, Callable[[DataElement, str, int], tuple[str, Any]]] = {
            Action.REMOVE: lambda *_: ("removed by the profile", None),
            Action.EMPTY: self._empty,
            Action.REPLACE: self._replace,
            Action.NEW_UID: self._new_uid,
            Action.KEEP: self._keep,
            Action.CLEAN: self._clean_value,
        }

    def clean(self, source: Dataset, depth: int, inside: str = "") -> Dataset:
        """The new data set; ``inside`` is the keyword of the sequence that holds it."""
        result = Dataset()
        for tag in sorted(source.keys()):
            keyword = keyword_for_tag(tag)
            if tag.group <= 0x0006 or keyword in _REWRITTEN:
                if keyword in ("PatientName", "PatientID"):
                    self.record.add("replaced by a keyed pseudonym", keyword)
                continue
            if tag.is_private or not keyword:
                kind = "private elements" if tag.is_private else "elements that are not in the dictionary"
                self.record.add("removed, private" if tag.is_private else "removed, unknown", kind)
                continue
            try:
                element = source[tag]
                outcome, value = self._decide(element, keyword, source, depth, inside)
                if value is not None:
                    result.add_new(tag, _vr(tag), value)
            except Exception:  # whatever a broken value makes pydicom raise, with any text in it
                outcome = "removed, unreadable"
            self.record.add(outcome, keyword)
        return result

    def _decide(self, element: DataElement, keyword: str, source: Dataset, depth: int, inside: str) -> tuple[str, Any]:
        """Outcome and new value of an element; without a value it is left out."""
        vr = _vr(element.tag)
        if inside == REGIONS:
            if vr in NUMBER_VRS and rule_of(element.tag) is None:
                return "kept, a number", _numbers(element, vr)
            return "removed, not needed for the image", None
        action = self._profile.action(element.tag, is_nested=depth > 0)
        if action is not None:
            return self._acts[action](element, keyword, depth)
        device = ProfileOption.DEVICE in self._profile.options
        if device and keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "TransducerData"):
            return self._keep(element, keyword, depth)
        if keyword == "Manufacturer":
            return "kept as a name of a closed list", known_vendor(source) or None
        if vr in NUMBER_VRS and keyword in KEPT_NUMBERS:
            return "kept, a number", _numbers(element, vr)
        if keyword in CLOSED_LISTS:
            return "kept, of a closed list", list(values_in_closed_list(source, keyword)) or None
        if keyword == REGIONS and depth == 0:
            return "kept, its numbers only", [self.clean(item, depth + 1, keyword) for item in element.value]
        if keyword in KEPT_CODES and depth < _DEEPEST:
            return "kept, known codes only", [
                found for item in element.value if (found := self._code(item, depth))
            ] or None
        if vr == "UI" and all(is_registered_uid(uid) for uid in _texts(element)):
            return "kept, a registered UID", _texts(element)
        if keyword == "FrameIncrementPointer":
            pointers = element.value if isinstance(element.value, MultiValue | list) else [element.value]
            return "kept, a pointer", [pointer for pointer in pointers if pointer in _POINTERS][:1] or None
        return "removed, not needed for the image", None

    def _code(self, item: Dataset, depth: int) -> Dataset | None:
        found = known_code(item)
        if found is None:
            return None
        result = Dataset()
        result.CodeValue, result.CodingSchemeDesignator = found[0], found[1]
        result.CodeMeaning = found[2][:64].strip()
        for keyword in KEPT_CODES:
            nested = [self._code(each, depth + 1) for each in item.get(keyword) or ()] if depth < _DEEPEST else []
            if nested := [each for each in nested if each is not None]:
                setattr(result, keyword, nested)
        return result

    def _empty(self, element: DataElement, *_: object) -> tuple[str, Any]:
        return "emptied", [] if _vr(element.tag) == "SQ" else ""

    def _replace(self, element: DataElement, *_: object) -> tuple[str, Any]:
        vr = _vr(element.tag)
        if vr == "UI":
            return self._new_uid(element)
        return ("replaced by a dummy", _DUMMIES[vr]) if vr in _DUMMIES else ("removed by the profile", None)

    def _new_uid(self, element: DataElement, *_: object) -> tuple[str, Any]:
        if _vr(element.tag) != "UI":  # X/Z/U*: a sequence of references
            return "removed by the profile", None
        return "replaced by a keyed UID", [self._key.uid(uid) for uid in _texts(element) if uid] or None

    def _keep(self, element: DataElement, keyword: str, depth: int) -> tuple[str, Any]:
        """Retain a value as an option says; items of a sequence are cleaned (PS3.15 table E.1-1a, K)."""
        vr = _vr(element.tag)
        if vr == "SQ":
            if depth >= _DEEPEST:
                return "removed by the profile", None
            return "retained by an option", [self._kept_item(item, depth, keyword) for item in element.value]
        if vr in NUMBER_VRS:
            return "retained by an option", _numbers(element, vr)
        if keyword == "PatientSex":
            value = _texts(element)[0].upper() if _texts(element) else ""
            return "retained by an option", value if value in CLOSED_LISTS[keyword] else ""
        if vr in ("DA", "TM", "DT"):
            patterns = {"DA": (_DATE,), "TM": (_TIME,), "DT": (_DATE_TIME, _DATE)}[vr]
            good = [text for text in _texts(element) if any(pattern.fullmatch(text) for pattern in patterns)]
            return "retained by an option", good or ""
        if vr == "UI" or vr in _TEXT_VRS:
            return "retained by an option", _texts(element)
        return "removed by the profile", None

    def _kept_item(self, item: Dataset, depth: int, keyword: str) -> Dataset:
        code = known_code(item)
        return (self._code(item, depth) if code else None) or self.clean(item, depth + 1, keyword)

    def _clean_value(self, element: DataElement, keyword: str, depth: int) -> tuple[str, Any]:
        """Change a value so that it identifies nobody; if that is impossible, do what the Basic Profile says."""
        rule, options, vr = rule_of(element.tag), self._profile.options, _vr(element.tag)
        if rule is not None and ProfileOption.MODIFIED_DATES in options and rule.options.get("modified-dates"):
            if vr == "TM":
                good = [text for text in _texts(element) if _TIME.fullmatch(text)]
                return "time of day kept, its date shifted", good or ""
            if vr in ("DA", "DT"):
                moved = [shift_date(text, self._days) for text in _texts(element)]
                return "date shifted", [text for text in moved if text] or ""
        if keyword == "PatientAge" and ProfileOption.PATIENT in options:
            age = _AGE.fullmatch((_texts(element) or [""])[0])
            if age is not None:
                is_old = age[2] == "Y" and int(age[1]) > _OLDEST_AGE_YEARS
                return "retained by an option", f"{_OLDEST_AGE_YEARS + 1:03d}Y" if is_old else age[0]
        if rule is not None and ProfileOption.DESCRIPTORS in options and rule.options.get("descriptors"):
            words = only_echo_words(" ".join(_texts(element))) if vr in _TEXT_VRS - {"CS", "AE", "UR"} else ""
            if words:
                return "cleaned, words of a closed list only", words
        return self._acts[self._profile.basic_action(element.tag, is_nested=depth > 0)](element, keyword, depth)


def _vr(tag: Any) -> str:
    """The value representation of the dictionary; that of the file may be wrong."""
    return str(dictionary_VR(tag)).split(" or ", 1)[0]


def _texts(element: DataElement) -> list[str]:
    value = element.value
    if value is None:
        return []
    values = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    texts = (str(each).strip().rstrip("\0") for each in values)
    return ["".join(letter for letter in text if letter.isprintable() or letter in "\r\n") for text in texts]


def _numbers(element: DataElement, vr: str) -> Any:
    """The numbers of an element, parsed and written again; None if one of them is no number."""
    texts = [text for text in _texts(element) if text]
    if not texts or not all(is_finite_number(text, is_whole=vr == "IS") for text in texts):
        return None
    if vr in ("FD", "FL"):
        return [float(text) for text in texts]
    if vr == "DS":
        return [
            text if len(text) <= 16 and re.fullmatch(r"[0-9.eE+-]+", text) else f"{float(text):.9g}" for text in texts
        ]
    return [int(float(text)) for text in texts]
