"""ECG objects beside a clip: aligned by a common clock, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_ecgs import SYNCHRONISATION, draw_ecg, ecg_object, waveform_group
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.waveforms.numpy_handler import multiplex_array
from real_files import real_dicom
from synthetic_dicom import PATIENT, build_dataset, moving_frames, save

from echoapex.domain import ClipHeader, EcgOrigin
from echoapex.io.clip_source import ReadFlag, load_clip
from echoapex.io.dicom.reader import open_dicom

FRAMES = moving_frames(51, height=16, width=20, colours=1)  # 2 s at 25 frames a second
DRAWN = draw_ecg(75, 250, 10.0)
STUDY = "1.2.826.0.1.3680043.8.498.5"
CLIP_STARTED, ECG_STARTED = "20200102120003.500000", "20200102120000.250000"
CLOCK = {
    "StudyInstanceUID": STUDY,
    "AcquisitionDateTime": CLIP_STARTED,
    "AcquisitionTimeSynchronized": "Y",
    "SynchronizationFrameOfReferenceUID": SYNCHRONISATION,
}


def write_clip(folder: Path, **changes: Any) -> Path:
    dataset = build_dataset(FRAMES, "MONOCHROME2", **{**CLOCK, **changes})
    dataset.PixelData = FRAMES.tobytes()
    dataset["PixelData"].VR = "OB"
    return save(folder / "clip.dcm", dataset)


def write_ecg(
    folder: Path, name: str = "ecg.dcm", study: str = STUDY, started: str = ECG_STARTED, **changes: Any
) -> Path:
    return save(folder / name, ecg_object([waveform_group(DRAWN.samples, 250)], study, started, **changes))


def read(path: Path) -> ClipHeader:
    source = open_dicom(path)
    assert np.array_equal(load_clip(source).frames, FRAMES)
    return source.header


def test_an_ecg_of_the_same_clock_is_aligned_with_the_first_frame(tmp_path: Path) -> None:
    write_ecg(tmp_path)
    header = read(write_clip(tmp_path))
    assert header.ecg is not None and not header.flags
    assert header.ecg.origin is EcgOrigin.WAVEFORM_OBJECT
    # the ECG began 3.25 s before the clip
    assert header.ecg.start_s == pytest.approx(-3.25)
    first_frame = round(3.25 * 250)
    assert header.ecg.samples[first_frame] == pytest.approx(DRAWN.samples[first_frame], abs=0.0011)


def test_the_offset_of_the_group_counts(tmp_path: Path) -> None:
    group = waveform_group(DRAWN.samples, 250, offset_ms=500.0)
    save(tmp_path / "ecg.dcm", ecg_object([group], STUDY, ECG_STARTED))
    header = read(write_clip(tmp_path))
    assert header.ecg is not None and header.ecg.start_s == pytest.approx(-2.75)


def test_time_zones_are_taken_into_account(tmp_path: Path) -> None:
    write_ecg(tmp_path, started="20200102110000.250000+0000")
    header = read(write_clip(tmp_path, TimezoneOffsetFromUTC="+0100"))
    assert header.ecg is not None and header.ecg.start_s == pytest.approx(-3.25)


@pytest.mark.parametrize(
    ("of_ecg", "of_clip"),
    [
        ({"AcquisitionTimeSynchronized": "N"}, {}),
        ({}, {"AcquisitionTimeSynchronized": "N"}),
        ({"started": "20200102120000"}, {}),
        ({"started": "20200102120000.2"}, {}),
        ({"started": "20201332120000.25"}, {}),
        ({}, {"AcquisitionDateTime": "2020"}),
        ({}, {"AcquisitionDateTime": None}),
        ({"TimezoneOffsetFromUTC": "+0100"}, {}),
    ],
)
def test_without_a_common_clock_it_is_refused(of_ecg: dict[str, Any], of_clip: dict[str, Any], tmp_path: Path) -> None:
    write_ecg(tmp_path, **of_ecg)
    header = read(write_clip(tmp_path, **of_clip))
    assert header.ecg is None
    assert header.flags == (ReadFlag.ECG_NOT_SYNCHRONISED,)


def test_a_reference_to_the_clip_does_not_make_a_clock(tmp_path: Path) -> None:
    clip = write_clip(tmp_path)
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = uid.generate_uid(entropy_srcs=["instance"])
    write_ecg(tmp_path, SynchronizationFrameOfReferenceUID="1.2.3", ReferencedInstanceSequence=[reference])
    header = read(clip)
    assert header.ecg is None
    assert header.flags == (ReadFlag.ECG_NOT_SYNCHRONISED,)


@pytest.mark.parametrize(
    "changes",
    [
        {"study": "1.2.826.0.1.3680043.8.498.6"},
        {"SynchronizationFrameOfReferenceUID": "1.2.3"},
        {"started": "20200102130000.250000"},
    ],
)
def test_ecgs_of_other_studies_clocks_and_times_are_left_alone(changes: dict[str, Any], tmp_path: Path) -> None:
    write_ecg(tmp_path, **changes)
    header = read(write_clip(tmp_path))
    assert header.ecg is None and not header.flags


def test_the_right_one_of_several_is_taken_and_damaged_ones_do_no_harm(tmp_path: Path) -> None:
    write_ecg(tmp_path, "a.dcm", started="20200102130000.250000")
    whole = write_ecg(tmp_path, "b.dcm").read_bytes()
    (tmp_path / "0.dcm").write_bytes(whole[:700])
    (tmp_path / "1.dcm").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder").mkdir()
    header = read(write_clip(tmp_path))
    assert header.ecg is not None and header.ecg.start_s == pytest.approx(-3.25)


def test_a_clip_without_a_clock_looks_at_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ecg(tmp_path)
    monkeypatch.setattr("echoapex.io.dicom.ecg_object._ecg_files", None)
    header = read(write_clip(tmp_path, AcquisitionTimeSynchronized=None))
    assert header.ecg is None and not header.flags


def test_no_date_and_no_name_reaches_the_header(tmp_path: Path) -> None:
    write_ecg(tmp_path, PatientName=PATIENT)
    said = repr(read(write_clip(tmp_path)))
    assert not [word for word in ("20200102", "Quartz", STUDY, SYNCHRONISATION) if word in said]


def test_lead_two_of_a_real_ecg_is_taken(tmp_path: Path) -> None:
    dataset = dcmread(real_dicom("waveform_ecg.dcm"))
    lead_two = multiplex_array(dataset, 0, as_raw=False)[:, 1]
    dataset.update(CLOCK | {"AcquisitionDateTime": ECG_STARTED})
    dataset.save_as(tmp_path / "ecg.dcm")
    header = read(write_clip(tmp_path))
    assert header.ecg is not None and header.ecg.rate_hz == 1000
    assert header.ecg.start_s == pytest.approx(-3.25) and header.ecg.end_s == pytest.approx(6.749)
    assert header.ecg.samples == pytest.approx(lead_two, rel=1e-4, abs=1e-4)
