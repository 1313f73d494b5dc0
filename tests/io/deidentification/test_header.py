"""Headers: no canary comes through, what a measurement needs stays, options do what they say."""

from __future__ import annotations

import io
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from deidentified import KEY, fan_frames
from drawn_ecgs import add_curve, waveform_group
from header_canaries import MARKS, TIME_MARK, plant
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from synthetic_dicom import build_dataset, region

from echoapex.io.deidentification.header import clean_header, method_items, patient_of, shift_date
from echoapex.io.deidentification.profile import Profile, ProfileOption, rule_of

DEVICE_TEXT = {"Manufacturer", "ManufacturerModelName", "SoftwareVersions", "TransducerData"}


def source(**elements: Any) -> Dataset:
    return build_dataset(
        fan_frames(2), "MONOCHROME2", SequenceOfUltrasoundRegions=[region((2, 3, 150, 110))], **elements
    )


def cleaned(dataset: Dataset, *options: ProfileOption) -> Dataset:
    return clean_header(dataset, Profile(frozenset(options)), KEY, "0" * 64).dataset


def encoded(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, implicit_vr=False, little_endian=True)
    return stream.getvalue()


@pytest.mark.parametrize("options", [(), (ProfileOption.MODIFIED_DATES,), (ProfileOption.DESCRIPTORS,)], ids=str)
def test_no_canary_comes_through(options: tuple[ProfileOption, ...]) -> None:
    dataset = source()
    assert plant(dataset) > 500
    assert all(mark.search(encoded(dataset)) for mark in MARKS)

    result = encoded(cleaned(dataset, *options))

    assert not [mark.pattern for mark in MARKS if mark.search(result)]
    assert bool(TIME_MARK.search(result)) == (ProfileOption.MODIFIED_DATES in options)


@pytest.mark.parametrize("option", [ProfileOption.DEVICE, ProfileOption.INSTITUTION, ProfileOption.PATIENT], ids=str)
def test_an_option_lets_only_its_own_attributes_through(option: ProfileOption) -> None:
    dataset = source()
    plant(dataset)

    result = cleaned(dataset, option)

    with_canary = {e.keyword for e in result if MARKS[0].search(str(e.value).encode())}
    allowed = {keyword_for_tag(e.tag) for e in dataset if (rule := rule_of(e.tag)) and rule.options.get(option) == "K"}
    assert with_canary <= allowed | (DEVICE_TEXT if option is ProfileOption.DEVICE else set())
    assert with_canary


def test_what_a_measurement_needs_stays() -> None:
    vector = [0, 20, 21, 19]
    dataset = source(
        HeartRate=71, RWaveTimeVector=[12.5, 812.25], FrameTimeVector=vector, FrameIncrementPointer=0x00181065,
        TransducerType="SECTOR_PHASED", MechanicalIndex="1.1", LossyImageCompression="01",
    )  # fmt: skip
    dataset.SequenceOfUltrasoundRegions[0].TransducerFrequency = 2500

    result = cleaned(dataset)

    assert result.SequenceOfUltrasoundRegions == dataset.SequenceOfUltrasoundRegions
    for keyword in ("HeartRate", "RWaveTimeVector", "FrameTimeVector", "FrameIncrementPointer", "MechanicalIndex"):
        assert result[keyword].value == dataset[keyword].value
    assert (result.TransducerType, result.LossyImageCompression) == ("SECTOR_PHASED", "01")


def test_sex_size_and_weight_stay_only_with_their_option() -> None:
    dataset = source(PatientSex="F", PatientSize="1.71", PatientWeight="68.5", PatientAge="067Y")
    kept = cleaned(dataset, ProfileOption.PATIENT)
    assert (kept.PatientSex, kept.PatientSize, kept.PatientWeight, kept.PatientAge) == ("F", 1.71, 68.5, "067Y")
    basic = cleaned(dataset)
    assert basic.PatientSex == ""
    assert not {"PatientSize", "PatientWeight", "PatientAge"} & {element.keyword for element in basic}


def test_the_very_old_are_one_group() -> None:
    assert cleaned(source(PatientAge="089Y"), ProfileOption.PATIENT).PatientAge == "089Y"
    assert cleaned(source(PatientAge="097Y"), ProfileOption.PATIENT).PatientAge == "090Y"


def test_uids_map_consistently_within_and_across_files() -> None:
    first, second = source(), source(SOPInstanceUID="1.2.3.9")
    one, other = cleaned(first), cleaned(second)
    assert one.StudyInstanceUID == other.StudyInstanceUID != first.StudyInstanceUID
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert cleaned(first, ProfileOption.UIDS).StudyInstanceUID == first.StudyInstanceUID


def test_dates_of_a_patient_keep_their_distance() -> None:
    early, late = source(StudyDate="20200101"), source(StudyDate="20200311")
    days = [int(cleaned(each, ProfileOption.MODIFIED_DATES).StudyDate) for each in (early, late)]
    assert days[0] < 20200101
    shift = KEY.shift_days(patient_of(early))
    assert [shift_date(date, shift) for date in ("20200101", "20200311")] == [str(day) for day in days]


def test_another_patient_gets_another_shift() -> None:
    one, other = source(PatientID="A1"), source(PatientID="B2")
    shifted = [cleaned(each, ProfileOption.MODIFIED_DATES).StudyDate for each in (one, other)]
    assert shifted[0] != shifted[1]


def test_full_dates_stay_as_they_are() -> None:
    kept = cleaned(source(AcquisitionDateTime="20190314112233.5+0100"), ProfileOption.FULL_DATES)
    assert (kept.StudyDate, kept.AcquisitionDateTime) == ("20190314", "20190314112233.5+0100")
    assert kept.LongitudinalTemporalInformationModified == "UNMODIFIED"
    assert kept.PatientBirthDate == ""


@pytest.mark.parametrize("option", [ProfileOption.FULL_DATES, ProfileOption.MODIFIED_DATES], ids=str)
def test_text_in_a_date_does_not_stay(option: ProfileOption) -> None:
    dataset = source()
    dataset.add_new("StudyDate", "LO", "Quartz 1950")
    dataset.add_new("StudyTime", "LO", "Quartz")
    result = cleaned(dataset, option)
    assert (result.StudyDate, result.StudyTime) == ("", "")


def test_text_in_a_number_does_not_stay() -> None:
    dataset = source()
    dataset.add_new("HeartRate", "LO", "Quartz")
    dataset.add_new("InstanceNumber", "LO", "49170123456789")  # a telephone number, not a count
    result = cleaned(dataset)
    assert "HeartRate" not in result
    assert result.InstanceNumber == ""


def test_a_public_code_stays_with_the_meaning_of_the_dictionary() -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-32000", "SRT", "Jane's heart"
    kept = cleaned(source(AnatomicRegionSequence=[code])).AnatomicRegionSequence[0]
    assert (kept.CodeValue, kept.CodingSchemeDesignator) == ("80891009", "SCT")
    assert kept.CodeMeaning.startswith("Heart")
    code.CodeValue = "T-99999999"
    assert "AnatomicRegionSequence" not in cleaned(source(AnatomicRegionSequence=[code]))


def test_vendor_and_probe_stay_as_words_of_a_list() -> None:
    result = cleaned(source(Manufacturer="GE Vingmed, St. Mary", TransducerData=["6VT-D", "serial 4711"]))
    assert (result.Manufacturer, result.TransducerData) == ("GE", "TEE")
    assert cleaned(source(Manufacturer="Quartz & Sons")).Manufacturer == ""


def test_descriptions_keep_only_words_of_a_list() -> None:
    dataset = source(SeriesDescription="Stress Echo A4C for Aurelia Quartz", StudyDescription="Quartz")
    result = cleaned(dataset, ProfileOption.DESCRIPTORS)
    assert result.SeriesDescription == "STRESS ECHO A4C"
    assert "StudyDescription" not in result


def test_the_result_says_how_it_was_made() -> None:
    result = cleaned(source())
    assert result.PatientIdentityRemoved == "YES"
    assert result.LongitudinalTemporalInformationModified == "REMOVED"
    assert len(result.DeidentificationMethod) <= 64
    item = method_items([("113100", "Basic Application Confidentiality Profile")])[0]
    assert (item.CodeValue, item.CodingSchemeDesignator) == ("113100", "DCM")


def test_patients_are_told_apart_without_an_id() -> None:
    unnamed = source(PatientID="")
    born = [source(PatientID="", PatientBirthDate=date) for date in ("19500101", "19600101")]
    nameless = source(PatientID="", PatientName="")
    identities = [patient_of(each) for each in (unnamed, *born, nameless, source())]
    assert all(one != other for one, other in combinations(identities, 2))


def test_a_header_without_uids_gets_some() -> None:
    dataset = source()
    del dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID
    result = cleaned(dataset)
    assert len({result.SOPInstanceUID, result.StudyInstanceUID, result.SeriesInstanceUID}) == 3


def test_the_record_names_attributes_but_nothing_of_the_file() -> None:
    dataset = source()
    plant(dataset)
    record = clean_header(dataset, Profile(), KEY, "0" * 64).record
    names = {name for counted in record.outcomes.values() for name in counted}
    described = {"private elements", "elements that are not in the dictionary", "CurveDescription"}
    described |= {name for name in names if name.startswith("Overlay")}  # repeating groups have no single tag
    assert not [name for name in names - described if tag_for_keyword(name) is None]
    assert record.outcomes["removed, private"]["private elements"] > 40


@pytest.mark.parametrize(
    ("text", "shifted"),
    [("20240301", "20240229"), ("2024.03.01", "20240229"), ("20240301120000", "20240229120000"),
     ("20240301120000.25+0100", "20240229120000.25+0100"), ("2024", ""), ("20241399", ""), ("Quartz", ""), ("", "")],
)  # fmt: skip
def test_a_date_is_moved_or_dropped(text: str, shifted: str) -> None:
    assert shift_date(text, 1) == shifted


@pytest.mark.parametrize("option", [None, *ProfileOption], ids=str)
def test_no_ecg_is_kept(option: ProfileOption | None) -> None:
    dataset = source()
    add_curve(dataset, np.arange(100, dtype="<u2"))
    dataset.WaveformSequence = [waveform_group(np.zeros(100), 100)]
    result = cleaned(dataset, *([option] if option else []))
    assert not [element for element in result if element.tag.group in (0x5000, 0x5400)]
