"""One file: what is refused, and the check of the result before it gets its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deidentified import method, write_fan
from pydicom import dcmread

from echoapex.io.clip_source import ReadError
from echoapex.io.deidentification.instance import Method, clean_instance, identifying_values, write_instance
from echoapex.io.deidentification.profile import Profile, ProfileOption
from echoapex.io.dicom.reader import open_dicom


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "is no ultrasound image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.2"}, "is an ultrasound volume"),
        ({"PhotometricInterpretation": "HSV"}, "photometric interpretation"),
        ({"Rows": 400}, "claims 3 frames but holds"),
    ],
)
def test_what_cannot_be_cleaned_is_refused(elements: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = write_fan(tmp_path / "Quartz.dcm", **elements)
    with pytest.raises(ReadError, match=reason) as caught:
        clean_instance(path, "a.dcm", method())
    assert "Quartz" not in str(caught.value)


def test_without_a_search_for_text_only_fans_are_written(tmp_path: Path) -> None:
    how = replace(method(), reader=None)
    dataset, done, _ = clean_instance(write_fan(tmp_path / "fan.dcm"), "a.dcm", how)
    assert "BurnedInAnnotation" not in dataset
    assert [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence] == ["113100"]
    assert done.pixels.texts is None
    trace = dcmread(tmp_path / "fan.dcm")
    trace.SequenceOfUltrasoundRegions[0].RegionSpatialFormat = 3
    trace.SequenceOfUltrasoundRegions[0].RegionLocationMinY0 = 40
    trace.save_as(tmp_path / "trace.dcm")
    with pytest.raises(ReadError, match="leave out --no-ocr"):
        clean_instance(tmp_path / "trace.dcm", "a.dcm", how)


def test_the_file_meta_information_is_new(tmp_path: Path) -> None:
    how = method()
    dataset, done, _ = clean_instance(write_fan(tmp_path / "fan.dcm"), "a.dcm", how)
    write_instance(tmp_path / "new.dcm", dataset, done, how.limits)
    written = dcmread(tmp_path / "new.dcm")
    assert written.preamble == bytes(128)
    assert written.file_meta.MediaStorageSOPInstanceUID == written.SOPInstanceUID
    assert {e.keyword for e in written.file_meta} == {
        *("FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID"),
        *("MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationClassUID", "ImplementationVersionName"),
    }


def written_with(change: Any, tmp_path: Path) -> Path:
    how = method()
    dataset, done, _ = clean_instance(write_fan(tmp_path / "fan.dcm"), "a.dcm", how)
    change(dataset)
    write_instance(tmp_path / "new.dcm", dataset, done, how.limits)
    return tmp_path / "new.dcm"


@pytest.mark.parametrize("leak", ["Quartz", "AURELIA", "pid-77123", "20190314"])
def test_a_value_of_the_source_in_the_result_is_found_and_nothing_is_written(leak: str, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="the check found a value of the source") as caught:
        written_with(lambda dataset: setattr(dataset, "ImageComments", f"for {leak}"), tmp_path)
    assert leak not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["fan.dcm"]


def test_other_pixels_than_meant_are_found_and_nothing_is_written(tmp_path: Path) -> None:
    def spoil(dataset: Any) -> None:
        dataset.PixelData = dataset.PixelData[:-200] + bytes(200)

    with pytest.raises(ReadError, match=r"other pixels|cannot be decoded|damaged|no readable picture"):
        written_with(spoil, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["fan.dcm"]


def test_a_patient_called_like_a_word_of_every_result_is_no_false_alarm(tmp_path: Path) -> None:
    how = method()
    path = write_fan(tmp_path / "fan.dcm", PatientName="Basic^Heart", Manufacturer="Philips", PatientID="PHILIPS")
    dataset, done, _ = clean_instance(path, "a.dcm", how)
    write_instance(tmp_path / "new.dcm", dataset, done, how.limits)


def test_what_is_sought_are_identifying_values_that_do_not_stay(tmp_path: Path) -> None:
    source = dcmread(write_fan(tmp_path / "fan.dcm", StationName="ROOM-SEVEN"))
    assert {"Quartz", "Aurelia", "PID-77123", "20190314", "ROOM-SEVEN"} <= identifying_values(source, Profile())
    kept = identifying_values(source, Profile(frozenset((ProfileOption.DEVICE, ProfileOption.FULL_DATES))))
    assert {"20190314", "ROOM-SEVEN"}.isdisjoint(kept)
    assert str(source.StudyInstanceUID) in kept


def test_what_is_sought_never_shows(tmp_path: Path) -> None:
    _, done, _ = clean_instance(write_fan(tmp_path / "fan.dcm"), "a.dcm", method())
    assert "Quartz" in done.sought
    assert "Quartz" not in repr(done)


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    how = method()
    small = Method(how.profile, how.key, how.reader, replace(how.limits, max_header_bytes=600))
    with pytest.raises(ReadError, match="header"):
        clean_instance(write_fan(tmp_path / "fan.dcm"), "a.dcm", small)


def test_a_broken_element_is_left_out(tmp_path: Path) -> None:
    path = write_fan(tmp_path / "fan.dcm", HeartRate=70)
    content = path.read_bytes()
    place = content.index(b"\x18\x00\x88\x10IS")
    path.write_bytes(content[: place + 8] + b"Q?" + content[place + 10 :])
    dataset, done, _ = clean_instance(path, "a.dcm", method())
    assert "HeartRate" not in dataset
    assert sum(done.header.record.outcomes.get("removed, unreadable", {}).values()) <= 1


def test_the_result_is_read_like_the_source(tmp_path: Path) -> None:
    how = method(ProfileOption.PATIENT)
    path = write_fan(
        tmp_path / "fan.dcm", HeartRate=71, RWaveTimeVector=[10.0, 70.0], FrameTime="23.5", PatientSex="F",
        PatientSize="1.7", Manufacturer="Philips Medical Systems", FrameIncrementPointer=0x00181063,
    )  # fmt: skip
    before = open_dicom(path).header
    dataset, done, _ = clean_instance(path, "a.dcm", how)
    write_instance(tmp_path / "new.dcm", dataset, done, how.limits)
    after = open_dicom(tmp_path / "new.dcm").header

    assert after.spacing == before.spacing is not None
    assert after.frame_times_s == before.frame_times_s
    assert (after.r_wave_times_s, after.heart_rate_bpm) == (before.r_wave_times_s, before.heart_rate_bpm)
    assert (after.patient_sex, after.patient_height_m, after.content) == ("F", 1.7, before.content)
    assert after.sector is not None and before.sector is not None
    assert np.allclose(after.sector.box_xyxy, before.sector.box_xyxy, atol=3)
