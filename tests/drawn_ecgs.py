"""Synthetic ECGs whose R waves are known, and DICOM elements that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

ECG_OBJECT = "1.2.840.10008.5.1.4.1.1.9.1.2"
SYNCHRONISATION = "1.2.826.0.1.3680043.8.498.1"


@dataclass(frozen=True)
class DrawnEcg:
    """Samples in mV and the times of the R waves in s from the first sample."""

    samples: np.ndarray
    rate_hz: float
    r_waves_s: tuple[float, ...]


def draw_ecg(
    rate_bpm: float = 72,
    rate_hz: float = 250,
    duration_s: float = 4.0,
    *,
    seed: int = 0,
    noise: float = 0.0,
    wander: float = 0.0,
    hum: float = 0.0,
    t_wave: float = 0.3,
    irregularity: float = 0.03,
    scale: float = 1.0,
) -> DrawnEcg:
    """P wave, QRS complex of usual width and T wave, with an R wave of 1 mV.

    Disturbances are in mV before ``scale``: ``noise`` is white (standard deviation), ``wander`` swings at 0.25 Hz with
    a random walk on top, ``hum`` has 50 Hz. A negative ``scale`` is an inverted lead.
    """
    rng = np.random.default_rng(seed)
    times, beat_s = np.arange(0, duration_s, 1 / rate_hz), 60 / rate_bpm
    beats = [float(rng.uniform(0, beat_s)) - beat_s]
    while beats[-1] < duration_s + beat_s:
        beats.append(beats[-1] + beat_s * (1 + irregularity * float(rng.standard_normal())))
    to_t = 0.75 * 0.39 * np.sqrt(beat_s)
    to_p = -0.16 * min(1.0, beat_s / 0.8)
    waves = ((to_p, 0.025, 0.12), (-0.025, 0.01, -0.12), (0, 0.012, 1.0), (0.03, 0.011, -0.22), (to_t, 0.045, t_wave))
    signal = sum(h * np.exp(-(((times - beat - at) / width) ** 2)) for beat in beats for at, width, h in waves)
    walk = np.cumsum(rng.standard_normal(times.size)) / np.sqrt(times.size)
    signal += wander * (np.sin(2 * np.pi * 0.25 * times + rng.uniform(0, 6)) + 0.3 * walk)
    signal += noise * rng.standard_normal(times.size) + hum * np.sin(2 * np.pi * 50 * times)
    return DrawnEcg(scale * signal, rate_hz, tuple(beat for beat in beats if 0 <= beat < duration_s))


def add_curve(dataset: Dataset, samples: np.ndarray, *, group: int = 0x5000, **changes: Any) -> Dataset:
    """Put samples into a curve group as a machine does; ``changes`` replace an element, None leaves it out."""
    kinds = {"u2": 0, "i2": 1, "f4": 2, "f8": 3, "i4": 4}
    kind = samples.dtype.str[1:]
    elements: dict[str, tuple[int, str, Any]] = {
        "dimensions": (0x0005, "US", 1),
        "points": (0x0010, "US", len(samples)),
        "type": (0x0020, "CS", "ECG"),
        "units": (0x0030, "SH", ["SEC", "MV"]),
        "representation": (0x0103, "US", kinds[kind]),
        "descriptor": (0x0110, "US", [0, 1]),
        "start": (0x0112, "OW", np.zeros(1, samples.dtype).tobytes()),
        "step": (0x0114, "OW", b""),
        "data": (0x3000, "OW", samples.tobytes()),
    }
    for name, (element, vr, value) in elements.items():
        chosen = changes.get(name, value)
        if isinstance(chosen, np.ndarray):
            chosen = chosen.tobytes()
        if chosen is not None:
            dataset.add_new(group << 16 | element, "US" if isinstance(chosen, int) else vr, chosen)
    return dataset


def waveform_group(
    samples: np.ndarray, rate_hz: float, offset_ms: float | None = 0.0, name: str = "Lead II"
) -> Dataset:
    """One multiplex group of one channel: 16-bit samples, 2 microvolts a step."""
    source, unit, channel, group = Dataset(), Dataset(), Dataset(), Dataset()
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = "1", "99TEST", name
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "mV", "UCUM", "millivolt"
    channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [unit]
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = "0.002", "1"
    channel.ChannelBaseline, channel.WaveformBitsStored = "0", 16
    if offset_ms is not None:
        group.MultiplexGroupTimeOffset = str(offset_ms)
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = 1, len(samples)
    group.SamplingFrequency = str(rate_hz)
    group.ChannelDefinitionSequence = [channel]
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.add_new(0x54001010, "OW", np.rint(samples / 0.002).astype("<i2").tobytes())
    return group


def ecg_object(groups: list[Dataset], study: str, started: str, **elements: Any) -> Dataset:
    """A General ECG object that is synchronised by ``SYNCHRONISATION``."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = ECG_OBJECT, "1.2.826.0.1.3680043.8.498.77"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, "1.2.826.0.1.3680043.8.498.78"
    dataset.Modality = "ECG"
    dataset.AcquisitionDateTime = started
    dataset.AcquisitionTimeSynchronized, dataset.SynchronizationFrameOfReferenceUID = "Y", SYNCHRONISATION
    dataset.WaveformSequence = groups
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset
