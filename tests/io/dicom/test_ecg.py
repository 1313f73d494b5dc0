"""ECGs stored in the file of a clip: curves and waveforms, whole, damaged, and without a known time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_ecgs import add_curve, draw_ecg, waveform_group
from pydicom import uid
from pydicom.dataset import Dataset
from synthetic_dicom import build_dataset, moving_frames, save

from echoapex.domain import ClipHeader, Ecg, EcgOrigin
from echoapex.io.clip_source import ReadFlag, load_clip
from echoapex.io.dicom import ecg as ecg_module
from echoapex.io.dicom.reader import open_dicom

FRAMES = moving_frames(51, height=16, width=20, colours=1)  # 2 s at 25 frames a second
DRAWN = draw_ecg(75, 500, 2.0)
COUNTS = np.rint(2000 + 1000 * DRAWN.samples).astype("<u2")


def write(path: Path, *sources: Dataset, syntax: str = uid.ExplicitVRLittleEndian, **elements: Any) -> Path:
    dataset = build_dataset(FRAMES, "MONOCHROME2", **elements)
    for source in sources:
        dataset.update(source)
    dataset.PixelData = FRAMES.tobytes() + b"\0" * (FRAMES.size % 2)
    dataset["PixelData"].VR = "OB"
    return save(path, dataset, syntax)


def curve(samples: np.ndarray = COUNTS, step: Any = None, **changes: Any) -> Dataset:
    """A curve of 500 points a second; seconds cannot be whole numbers, so the axis of integers counts points."""
    if samples.dtype.kind in "ui":
        changes = {"units": ["DPPS", "NONE"], "step": np.array([500], samples.dtype), **changes}
    else:
        changes = {"step": np.array([1 / 500], samples.dtype), **changes}
    if step is not None:
        changes["step"] = step
    return add_curve(Dataset(), samples, **changes)


def waveform(*groups: Dataset) -> Dataset:
    dataset = Dataset()
    dataset.WaveformSequence = list(groups)
    return dataset


def read(tmp_path: Path, *sources: Dataset, **options: Any) -> ClipHeader:
    path = write(tmp_path / "clip.dcm", *sources, **options)
    source = open_dicom(path)
    assert np.array_equal(load_clip(source).frames, FRAMES)  # whatever the ECG is, the clip is read
    return source.header


def ecg_of(header: ClipHeader) -> Ecg:
    assert header.ecg is not None, header.flags
    assert not [flag for flag in header.flags if "ecg" in flag]
    return header.ecg


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ExplicitVRLittleEndian,
        uid.ImplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
    ],
)
def test_a_curve_in_points_a_second(syntax: str, tmp_path: Path) -> None:
    found = ecg_of(read(tmp_path, curve(), syntax=syntax))
    assert np.array_equal(found.samples, COUNTS)
    assert (found.start_s, found.rate_hz, found.unit, found.origin) == (0.0, 500.0, "", EcgOrigin.CURVE)


def test_a_curve_of_a_big_endian_file(tmp_path: Path) -> None:
    swapped = COUNTS.astype(">u2")
    dataset = add_curve(
        Dataset(), swapped, units=["DPPS", "NONE"], step=np.array([500], ">u2"), start=np.zeros(1, ">u2")
    )
    found = ecg_of(read(tmp_path, dataset, syntax=uid.ExplicitVRBigEndian))
    assert np.array_equal(found.samples, COUNTS) and found.rate_hz == 500


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_a_curve_in_seconds_and_millivolts_that_begins_before_the_clip(kind: str, tmp_path: Path) -> None:
    found = ecg_of(read(tmp_path, curve(DRAWN.samples.astype(kind), start=np.array([-0.25], kind))))
    assert found.samples == pytest.approx(DRAWN.samples, abs=1e-6)
    assert (found.start_s, found.unit) == (-0.25, "mV")
    assert found.rate_hz == pytest.approx(500, rel=1e-6)


def test_a_curve_in_milliseconds_without_a_descriptor(tmp_path: Path) -> None:
    samples = np.rint(1000 * DRAWN.samples).astype("<i2")
    found = ecg_of(read(tmp_path, curve(samples, units=["MSEC", "UV"], descriptor=None, step=np.array([2], "<i2"))))
    assert (found.rate_hz, found.unit) == (500.0, "uV")


def test_the_ecg_is_found_among_other_curves(tmp_path: Path) -> None:
    breath = curve(COUNTS[::-1].copy(), group=0x5000, type="RESP")
    found = ecg_of(read(tmp_path, breath, curve(group=0x501E)))
    assert np.array_equal(found.samples, COUNTS)


def test_other_curves_alone_are_no_ecg_and_no_flag(tmp_path: Path) -> None:
    header = read(tmp_path, curve(type="RESP"))
    assert header.ecg is None and not header.flags


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"step": None, "units": None}, ReadFlag.ECG_TIME_UNKNOWN),
        ({"start": None}, ReadFlag.ECG_TIME_UNKNOWN),
        ({"units": ["NONE", "NONE"]}, ReadFlag.ECG_TIME_UNKNOWN),
        ({"units": ["PIXL", "NONE"]}, ReadFlag.ECG_TIME_UNKNOWN),
        ({"step": np.zeros(1, "<u2")}, ReadFlag.ECG_TIME_UNKNOWN),
        ({"step": np.array([20], "<u2")}, ReadFlag.ECG_DAMAGED),
        ({"step": np.array([6000], "<u2")}, ReadFlag.ECG_DAMAGED),
        ({"points": 65_535}, ReadFlag.ECG_DAMAGED),
        ({"points": 1}, ReadFlag.ECG_DAMAGED),
        ({"points": None}, ReadFlag.ECG_DAMAGED),
        ({"data": COUNTS.tobytes()[:-2]}, ReadFlag.ECG_DAMAGED),
        ({"data": b""}, ReadFlag.ECG_DAMAGED),
        ({"data": None}, ReadFlag.ECG_DAMAGED),
        ({"representation": 9}, ReadFlag.ECG_DAMAGED),
        ({"dimensions": 2, "descriptor": [1, 1]}, ReadFlag.ECG_DAMAGED),
        ({"dimensions": 3, "descriptor": None}, ReadFlag.ECG_DAMAGED),
        ({"start": np.array([2000], "<u2")}, ReadFlag.ECG_OF_ANOTHER_TIME),
    ],
)
def test_a_curve_that_cannot_be_used_gives_one_flag(changes: dict[str, Any], flag: ReadFlag, tmp_path: Path) -> None:
    dataset = curve(**changes)
    for name, element in (("step", 0x0114), ("units", 0x0030)):
        if name in changes and changes[name] is None and 0x50000000 | element in dataset:
            del dataset[0x50000000 | element]
    header = read(tmp_path, dataset)
    assert header.ecg is None
    assert header.flags == (flag,)


def test_a_curve_with_a_zero_step_of_seconds_or_values_that_are_not_finite(tmp_path: Path) -> None:
    samples = DRAWN.samples.astype("<f4")
    assert read(tmp_path, curve(samples, step=np.zeros(1, "<f4"))).flags == (ReadFlag.ECG_TIME_UNKNOWN,)
    assert read(tmp_path, curve(samples, step=np.array([np.nan], "<f4"))).flags == (ReadFlag.ECG_TIME_UNKNOWN,)
    samples[7] = np.inf
    assert read(tmp_path, curve(samples)).flags == (ReadFlag.ECG_DAMAGED,)


def test_a_curve_of_another_length_than_the_clip_is_refused(tmp_path: Path) -> None:
    short, long = COUNTS[:450], np.tile(COUNTS, 5)
    assert read(tmp_path, curve(short)).flags == (ReadFlag.ECG_OF_ANOTHER_TIME,)
    assert read(tmp_path, curve(long)).flags == (ReadFlag.ECG_OF_ANOTHER_TIME,)


def test_a_flat_line_is_no_ecg(tmp_path: Path) -> None:
    assert read(tmp_path, curve(np.full(1000, 2048, "<u2"))).flags == (ReadFlag.ECG_DAMAGED,)


def test_an_ecg_is_not_aligned_with_assumed_frame_times(tmp_path: Path) -> None:
    header = read(tmp_path, curve(), FrameTime=None)
    assert not header.frame_times_known and header.ecg is None
    assert header.flags == (ReadFlag.ECG_TIME_UNKNOWN,)


def test_a_waveform_in_millivolts(tmp_path: Path) -> None:
    found = ecg_of(read(tmp_path, waveform(waveform_group(DRAWN.samples, 500, offset_ms=-40.0))))
    assert found.samples == pytest.approx(DRAWN.samples, abs=0.0011)
    assert (found.start_s, found.rate_hz, found.unit) == (-0.04, 500.0, "mV")
    assert found.origin is EcgOrigin.WAVEFORM


def test_lead_two_goes_before_others_and_other_signals_are_left_alone(tmp_path: Path) -> None:
    groups = [waveform_group(DRAWN.samples * each, 500, name=name) for each, name in ((1, "ECG"), (2, "Lead II"))]
    breath = waveform_group(DRAWN.samples * 3, 500, name="Respiration")
    found = ecg_of(read(tmp_path, waveform(breath, *groups)))
    assert found.samples == pytest.approx(2 * DRAWN.samples, abs=0.0011)
    other = read(tmp_path, waveform(breath))
    assert other.ecg is None and not other.flags


def test_a_lead_is_known_by_its_code_too(tmp_path: Path) -> None:
    group = waveform_group(DRAWN.samples, 500, name="II")
    source = group.ChannelDefinitionSequence[0].ChannelSourceSequence[0]
    source.CodeValue, source.CodingSchemeDesignator = "2:2", "MDC"
    assert ecg_of(read(tmp_path, waveform(group))).rate_hz == 500


def test_without_sensitivity_the_unit_is_unknown(tmp_path: Path) -> None:
    group = waveform_group(DRAWN.samples, 500)
    del group.ChannelDefinitionSequence[0].ChannelSensitivity
    found = ecg_of(read(tmp_path, waveform(group)))
    assert found.unit == "" and found.samples.max() > 100


def test_two_channels_are_told_apart(tmp_path: Path) -> None:
    group = waveform_group(DRAWN.samples, 500)
    breath = waveform_group(DRAWN.samples, 500, name="Respiration")
    group.ChannelDefinitionSequence = [breath.ChannelDefinitionSequence[0], group.ChannelDefinitionSequence[0]]
    group.NumberOfWaveformChannels = 2
    steps = np.rint(DRAWN.samples / 0.002).astype("<i2")
    group.WaveformData = np.stack([steps * 0 + 5, steps], axis=1).tobytes()
    assert ecg_of(read(tmp_path, waveform(group))).samples == pytest.approx(DRAWN.samples, abs=0.0011)


def test_a_long_waveform_is_cut_to_the_clip(tmp_path: Path) -> None:
    long = draw_ecg(75, 250, 60.0).samples
    found = ecg_of(read(tmp_path, waveform(waveform_group(long, 250, offset_ms=-30_000.0))))
    assert found.start_s == pytest.approx(-5) and found.end_s == pytest.approx(7)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"NumberOfWaveformSamples": 4_000_000_000}, ReadFlag.ECG_DAMAGED),
        ({"NumberOfWaveformChannels": 60_000}, ReadFlag.ECG_DAMAGED),
        ({"NumberOfWaveformSamples": 0}, ReadFlag.ECG_DAMAGED),
        ({"WaveformData": b"\1\2"}, ReadFlag.ECG_DAMAGED),
        ({"WaveformBitsAllocated": 0}, ReadFlag.ECG_DAMAGED),
        ({"WaveformSampleInterpretation": "MB"}, ReadFlag.ECG_DAMAGED),
        ({"SamplingFrequency": "0"}, ReadFlag.ECG_DAMAGED),
        ({"SamplingFrequency": "20"}, ReadFlag.ECG_DAMAGED),
        ({"SamplingFrequency": ""}, ReadFlag.ECG_TIME_UNKNOWN),
        ({"MultiplexGroupTimeOffset": ""}, ReadFlag.ECG_TIME_UNKNOWN),
        ({"MultiplexGroupTimeOffset": "90000"}, ReadFlag.ECG_OF_ANOTHER_TIME),
    ],
)
def test_a_waveform_that_cannot_be_used_gives_one_flag(changes: dict[str, Any], flag: ReadFlag, tmp_path: Path) -> None:
    group = waveform_group(DRAWN.samples, 500)
    for keyword, value in changes.items():
        setattr(group, keyword, value)
    header = read(tmp_path, waveform(group))
    assert header.ecg is None
    assert header.flags == (flag,)


def test_ecgs_larger_than_any_real_one_are_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ecg_module, "MAX_ECG_BYTES", 1500)
    assert read(tmp_path, curve()).flags == (ReadFlag.ECG_DAMAGED,)
    assert read(tmp_path, waveform(waveform_group(DRAWN.samples, 500))).flags == (ReadFlag.ECG_DAMAGED,)


def test_a_clip_without_an_ecg_reads_its_header_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echoapex.io.dicom.header.DicomFile.read_more", None)
    assert read(tmp_path).ecg is None


def test_a_second_curve_stands_in_for_a_damaged_one(tmp_path: Path) -> None:
    header = read(tmp_path, curve(data=b"", group=0x5000), curve(group=0x5002))
    assert np.array_equal(ecg_of(header).samples, COUNTS)


@pytest.mark.parametrize("tag", [0x003A0200, 0x003A0211], ids=["channels", "units"])
def test_a_sequence_that_is_none_does_no_harm_to_the_clip(tag: int, tmp_path: Path) -> None:
    group = waveform_group(DRAWN.samples, 500)
    place = group if tag == 0x003A0200 else group.ChannelDefinitionSequence[0]
    del place[tag]
    place.add_new(tag, "OB", b"no item!")
    header = read(tmp_path, waveform(group))
    assert header.ecg is None or header.ecg.unit == ""
    assert not header.flags
