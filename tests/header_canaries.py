"""Canaries in DICOM headers: invented values wherever a header can hold text or an identifier.

They are in every attribute of the profile's table, in every kind of text, in private elements, in nested sequences, in
the preamble and in the file meta information.

Every canary contains a mark that no program writes by itself, so that it can be sought as bytes in any output.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from echoapex.io.deidentification.profile import listed_tags

MARK = "QZCANARY"
ROOT = "1.2.999.7331."
DATE = "19370407"
TIME = "031415.926"
NUMBER = "7331073"
MARKS = (re.compile(MARK.encode(), re.I), re.compile(re.escape(ROOT.encode())), re.compile(DATE.encode()))
TIME_MARK = re.compile(TIME.encode())
TEXT_VRS = ("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT", "PN")
UNLISTED = (
    *(
        "ManufacturerModelName",
        "SoftwareVersions",
        "TransducerData",
        "ProcessingFunction",
        "PositionReferenceIndicator",
    ),
    *("ViewName", "StageName", "BodyPartExamined", "Laterality", "TransducerType", "ImageType", "PatientOrientation"),
    *("Manufacturer", "RescaleType", "WindowCenterWidthExplanation", "EventTimerNames", "OutputPower", "ErrorComment"),
    *("PersonAddress", "TextString", "VerifyingObserverName", "LongCodeValue", "URNCodeValue"),
)
"""Attributes that the profile does not list, one of every text kind at least: free text all the same."""


def canary_value(vr: str, number: int) -> Any:
    """A canary of a value representation; None for one that cannot hold text or an identifier."""
    if vr in TEXT_VRS:
        text = f"{MARK}{number}"
        return {"PN": f"{text}^{MARK}JANE", "UR": f"https://{text}.invalid/", "CS": text}.get(vr, text)
    if vr == "UI":
        return f"{ROOT}{number}"
    fixed = {"DA": DATE, "TM": TIME, "DT": DATE + TIME, "AS": "087Y", "IS": NUMBER, "DS": NUMBER}
    if vr in fixed:
        return fixed[vr]
    return f"{MARK}{number}".ljust(16).encode() if vr in ("OB", "UN", "OW") else None


def plant(dataset: Dataset) -> int:
    """Put canaries everywhere; returns how many there are."""
    planted = 0
    keywords = {keyword_for_tag(tag): None for tag in listed_tags()} | dict.fromkeys(UNLISTED)
    for number, keyword in enumerate(keywords, 100):
        tag = Tag(keyword) if keyword else None
        if tag is None or tag.group < 0x0008 or tag.group >= 0x7FE0:
            continue
        vr = str(dictionary_VR(tag)).split(" or ", 1)[0]
        value = [_item(number)] if vr == "SQ" else canary_value(vr, number)
        if value is not None:
            dataset.add_new(tag, vr, value)
            planted += 1
    planted += _plant_kept_sequences(dataset)
    planted += _plant_private(dataset)
    for group, element in ((0x5000, 0x0022), (0x6000, 0x0022), (0x6000, 0x1500), (0x6000, 0x4000), (0x6002, 0x4000)):
        dataset.add_new((group, element), "LO", f"{MARK}OVERLAY")
    dataset.add_new((0x6000, 0x3000), "OB", f"{MARK}BITS".ljust(16).encode())
    return planted + 6


def write_planted(path: Path, dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a data set with canaries in the preamble and in the file meta information as well."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = f"{ROOT}1"
    meta.ImplementationVersionName = f"{MARK}IMPL"
    meta.SourceApplicationEntityTitle = f"{MARK}AE"
    meta.PrivateInformationCreatorUID = f"{ROOT}2"
    meta.PrivateInformation = f"{MARK}META".encode()
    dataset.file_meta = meta
    dataset.preamble = f"{MARK} preamble".encode().ljust(128, b"\0")
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return path


def canaries_in(folder: Path) -> list[str]:
    """Every file below a folder whose bytes, name or folder hold a canary."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder)).encode()
        content = path.read_bytes() if path.is_file() else b""
        found += [f"{path.name}: {mark.pattern!r}" for mark in MARKS if mark.search(content) or mark.search(name)]
    return found


def frames_of(size: tuple[int, int] = (120, 160), count: int = 3) -> np.ndarray:
    """Grey frames with a fan of speckle."""
    from drawn_studies import draw_sector

    return draw_sector(size, count)


def _item(number: int, depth: int = 3) -> Dataset:
    """An item with a canary of each text kind, a private element, and further items inside."""
    item = Dataset()
    item.PatientName, item.PatientID = f"{MARK}NESTED^{number}", f"{MARK}{number}"
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = f"{MARK}{number}", "99LOCAL", f"{MARK} meaning"
    item.ReferencedSOPInstanceUID, item.StudyDate, item.TextValue = f"{ROOT}{number}", DATE, f"{MARK} text"
    block = item.private_block(0x0029, f"{MARK} NESTED", create=True)
    block.add_new(0x01, "LO", f"{MARK} private")
    if depth:
        item.RequestAttributesSequence = [_item(number, depth - 1)]
        item.AnatomicRegionSequence = [_item(number, depth - 1)]
    return item


def _plant_kept_sequences(dataset: Dataset) -> int:
    """Canaries inside the sequences that stay: regions, and codes whose scheme is public but whose words are not."""
    for region in dataset.get("SequenceOfUltrasoundRegions", []):
        region.PixelComponentMask = 1
        region.PatientName, region.InstitutionName = f"{MARK}^REGION", f"{MARK} region"
        region.RequestAttributesSequence = [_item(1)]
        region.private_block(0x0031, f"{MARK} REGION", create=True).add_new(0x01, "LT", f"{MARK} region")
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-32000", "SRT", f"{MARK} heart"
    code.ViewModifierCodeSequence = [_item(2)]
    unknown = Dataset()
    unknown.CodeValue, unknown.CodingSchemeDesignator, unknown.CodeMeaning = MARK, "SCT", f"{MARK} heart"
    dataset.AnatomicRegionSequence = [code, unknown, _item(3)]
    dataset.ViewCodeSequence = [_item(4)]
    return 8


def _plant_private(dataset: Dataset) -> int:
    planted = 0
    for group in (0x0009, 0x0019, 0x7FDF):
        block = dataset.private_block(group, f"{MARK} GROUP {group:04X}", create=True)
        for element, vr in enumerate((*TEXT_VRS, "UN", "OB", "DA", "UI"), 1):
            block.add_new(element, vr, canary_value(vr, element))
            planted += 1
        block.add_new(0x60, "SQ", [_item(group)])
    return planted + 3
