"""Read the ECG that is stored in the file of a clip: as a curve, or as a waveform.

Older machines store a curve (repeating group 50xx): the Curve module of PS3.3-2004, section C.10.2, retired since. The
samples are the points of a curve with one dimension, and the time axis is described by interval spacing: Coordinate
Start Value and Coordinate Step Value in the first of the Axis Units. The file has one time axis, on which the first
frame is at 0. Newer objects store a WaveformSequence (C.10.9), whose Multiplex Group Time Offset counts from the start
of the acquisition, which is the first frame.

Nothing is guessed. An ECG whose samples cannot be placed on the time of the frames is left out with one flag, and so is
a damaged one; the clip is read in any case. Every read is limited, and the values are decoded by ``pydicom.waveforms``
(waveforms) and numpy (curves, for which pydicom has no decoder).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from pydicom.dataset import Dataset
from pydicom.waveforms.numpy_handler import multiplex_array

from echoapex.domain import Ecg, EcgOrigin
from echoapex.io.clip_source import ReadError, ReadFlag, muted_pydicom
from echoapex.io.dicom.header import DicomFile, integer_of, number_of, text_of, value_of

MARGIN_S = 5.0
"""An ECG is kept up to this long before and after the clip."""
MAX_ECG_BYTES = 16 << 20
"""Most bytes that are read of all the ECGs of a file."""
WAVEFORM_SEQUENCE = 0x54000100
_LEAST_COVERED = 0.5
_LONGEST_CURVE = 1.5  # of the clip: a curve of another length belongs to another stretch of time
_CURVE_SLACK_S = 1.0
_MOST_GROUPS, _MOST_CHANNELS = 32, 64

# elements of a curve group (PS3.3-2004 table C.10-2)
_DIMENSIONS, _POINTS, _TYPE, _UNITS = 0x0005, 0x0010, 0x0020, 0x0030
_REPRESENTATION, _DESCRIPTOR, _START, _STEP, _DATA = 0x0103, 0x0110, 0x0112, 0x0114, 0x3000
_CURVE_ELEMENTS = (_DIMENSIONS, _POINTS, _TYPE, _UNITS, _REPRESENTATION, _DESCRIPTOR, _START, _STEP, _DATA)
_SAMPLE_TYPES = {0: "u2", 1: "i2", 2: "f4", 3: "f8", 4: "i4"}
"""Data Value Representation (50xx,0103), PS3.3-2004 section C.10.2.1.2."""
_SECONDS = {"SEC": 1.0, "SECD": 1.0, "S": 1.0, "MSEC": 1e-3, "MS": 1e-3}
_POINTS_A_SECOND = "DPPS"
_VOLTS = {"MV": "mV", "UV": "uV", "MCV": "uV"}
_UCUM_VOLTS = {"V": "V", "mV": "mV", "uV": "uV"}
_ECG_CHANNEL = re.compile(r"\becg\b|\bekg\b|\blead\b", re.I)
_ECG_SCHEMES = re.compile(r"^(2:\d+$|5\.6\.3-9-)")  # MDC and SCP-ECG codes of leads (PS3.16 CID 3001)
_LEAD_TWO = re.compile(r"\blead ii\b", re.I)


@dataclass(frozen=True)
class FoundEcg:
    """An ECG, or the flag that says why it was left out; neither if there is none."""

    ecg: Ecg | None = None
    flags: tuple[ReadFlag, ...] = ()


class EcgError(ValueError):
    """An ECG that cannot be used; ``flag`` says why."""

    def __init__(self, flag: ReadFlag) -> None:
        self.flag = flag
        super().__init__(str(flag))


def read_stored_ecg(file: DicomFile, duration_s: float | None) -> FoundEcg:
    """The ECG in the file of a clip.

    Args:
        file: the file; its header was read, and the elements of an ECG were noted.
        duration_s: time from the first to the last frame; None if the frame times are not known.

    Returns:
        The first ECG that can be aligned with the frames, else one flag, else nothing.
    """
    groups = sorted({tag >> 16 for tag in file.noted_tags if 0x5000 <= tag >> 16 < 0x5020})
    tags = [group << 16 | element for group in groups for element in _CURVE_ELEMENTS]
    tags += [WAVEFORM_SEQUENCE] if WAVEFORM_SEQUENCE in file.noted_tags else []
    if not tags:
        return FoundEcg()
    refused: list[ReadFlag] = []
    try:
        dataset = file.read_more(tags, MAX_ECG_BYTES)
    except ReadError:
        return FoundEcg(flags=(ReadFlag.ECG_DAMAGED,))
    readers: list[Callable[[], Ecg | None]] = [_Curve(dataset, group).read for group in groups]
    readers.append(partial(read_waveform, dataset))
    for read in readers:
        try:
            with muted_pydicom():
                ecg = read()
            if ecg is not None:
                return FoundEcg(fit_to_clip(ecg, duration_s))
        except EcgError as error:
            refused.append(error.flag)
        except Exception:  # elements of a wrong kind, wherever they are met: the clip is read all the same
            refused.append(ReadFlag.ECG_DAMAGED)
    return FoundEcg(flags=tuple(refused[:1]))


def fit_to_clip(ecg: Ecg, duration_s: float | None) -> Ecg:
    """The part of an ECG that belongs to a clip.

    Raises:
        EcgError: the frame times are unknown, or the ECG covers less than half of the clip.
    """
    if duration_s is None:
        raise EcgError(ReadFlag.ECG_TIME_UNKNOWN)
    covered = min(ecg.end_s, duration_s) - max(ecg.start_s, 0.0)
    if covered < _LEAST_COVERED * duration_s:
        raise EcgError(ReadFlag.ECG_OF_ANOTHER_TIME)
    if ecg.origin is EcgOrigin.CURVE and ecg.end_s - ecg.start_s > _LONGEST_CURVE * duration_s + _CURVE_SLACK_S:
        raise EcgError(ReadFlag.ECG_OF_ANOTHER_TIME)
    part = ecg.between(-MARGIN_S, duration_s + MARGIN_S)
    if part is None:
        raise EcgError(ReadFlag.ECG_OF_ANOTHER_TIME)
    return part


def read_waveform(
    dataset: Dataset, reference_s: float = 0.0, origin: EcgOrigin = EcgOrigin.WAVEFORM, *, every_lead: bool = False
) -> Ecg | None:
    """The best ECG lead in WaveformSequence (5400,0100): lead II, else the first; None if no channel is an ECG.

    Args:
        dataset: with the sequence.
        reference_s: time of the start of the acquisition, from which the offsets of the groups count.
        origin: where the waveform is stored.
        every_lead: whether every channel is an ECG lead, as in an ECG object.

    Raises:
        EcgError: there is an ECG that cannot be read or placed in time.
    """
    items = value_of(dataset, "WaveformSequence")
    if items is None:
        return None
    if isinstance(items, bytes | str) or len(items) > _MOST_GROUPS:
        raise EcgError(ReadFlag.ECG_DAMAGED)
    leads = [
        (not _LEAD_TWO.search(said), group, channel)
        for group, item in enumerate(items)
        for channel, said in enumerate(_channel_names(item))
        if every_lead or _is_ecg(said)
    ]
    if not leads:
        return None
    _, group, channel = min(leads)
    return _read_channel(dataset, group, channel, reference_s, origin)


def _channel_names(item: Dataset) -> list[str]:
    """Code and meaning of the source of each channel of a multiplex group."""
    names = []
    channels = value_of(item, "ChannelDefinitionSequence")
    if channels is None or isinstance(channels, bytes | str):
        return []
    for channel in list(channels)[:_MOST_CHANNELS]:
        sources = value_of(channel, "ChannelSourceSequence")
        source = sources[0] if sources is not None and len(sources) else Dataset()
        label = text_of(channel, "ChannelLabel")
        names.append(f"{text_of(source, 'CodeValue')}\n{text_of(source, 'CodeMeaning')}\n{label}")
    return names


def _is_ecg(names: str) -> bool:
    code, _, words = names.partition("\n")
    return bool(_ECG_SCHEMES.search(code) or _ECG_CHANNEL.search(words))


def _read_channel(dataset: Dataset, group: int, channel: int, reference_s: float, origin: EcgOrigin) -> Ecg:
    item = dataset.WaveformSequence[group]
    _check_size(item)
    try:
        with muted_pydicom():
            stored = multiplex_array(dataset, group, as_raw=True)[:, channel]
    except Exception:  # pydicom has its own error types for missing elements, and numpy for short ones
        raise EcgError(ReadFlag.ECG_DAMAGED) from None
    values = (stored if _is_little_endian(dataset) else stored.byteswap()).astype(np.float64)
    definition = item.ChannelDefinitionSequence[channel]
    unit = ""
    sensitivity = number_of(definition, "ChannelSensitivity")
    if sensitivity:
        correction = number_of(definition, "ChannelSensitivityCorrectionFactor") or 1.0
        values = values * sensitivity * correction + (number_of(definition, "ChannelBaseline") or 0.0)
        units = value_of(definition, "ChannelSensitivityUnitsSequence")
        unit = _UCUM_VOLTS.get(text_of(units[0], "CodeValue"), "") if units is not None and len(units) else ""
    offset_ms, rate_hz = number_of(item, "MultiplexGroupTimeOffset"), number_of(item, "SamplingFrequency")
    if offset_ms is None or rate_hz is None:
        raise EcgError(ReadFlag.ECG_TIME_UNKNOWN)
    return _checked(values, reference_s + offset_ms / 1000, rate_hz, unit, origin)


def _check_size(item: Dataset) -> None:
    """Refuse a group whose claims do not fit its bytes, before memory is allocated.

    Raises:
        EcgError: it holds fewer bytes than it claims samples.
    """
    data = value_of(item, "WaveformData")
    counts = [
        integer_of(item, keyword)
        for keyword in ("NumberOfWaveformChannels", "NumberOfWaveformSamples", "WaveformBitsAllocated")
    ]
    if not isinstance(data, bytes) or any(count is None or count < 1 for count in counts):
        raise EcgError(ReadFlag.ECG_DAMAGED)
    channels, samples, bits = (count or 0 for count in counts)
    if channels > _MOST_CHANNELS or channels * samples * bits // 8 > len(data):
        raise EcgError(ReadFlag.ECG_DAMAGED)


def _checked(
    samples: Float[np.ndarray, " samples"], start_s: float, rate_hz: float, unit: str, origin: EcgOrigin
) -> Ecg:
    """The ECG, if it is one.

    Raises:
        EcgError: the values are impossible.
    """
    if float(np.ptp(samples)) == 0.0:
        raise EcgError(ReadFlag.ECG_DAMAGED)  # a flat line: no electrode was connected
    try:
        return Ecg(samples, start_s, rate_hz, unit, origin)
    except ValueError:
        raise EcgError(ReadFlag.ECG_DAMAGED) from None


def _is_little_endian(dataset: Dataset) -> bool:
    """Byte order of a data set that was read."""
    return dataset.original_encoding[1] is not False


class _Curve:
    """One curve group."""

    def __init__(self, dataset: Dataset, group: int) -> None:
        self._dataset = dataset
        self._group = group << 16
        self._order = "<" if _is_little_endian(dataset) else ">"

    def read(self) -> Ecg | None:
        """The ECG; None if this is another curve.

        Raises:
            EcgError: it cannot be read or placed in time.
        """
        if self._text(_TYPE) != "ECG":
            return None
        points, kind = self._whole(_POINTS), _SAMPLE_TYPES.get(self._whole(_REPRESENTATION) or 0)
        data = self._raw(_DATA)
        if points is None or points < 2 or kind is None:
            raise EcgError(ReadFlag.ECG_DAMAGED)
        wanted = points * int(kind[1])
        descriptor = self._numbers(_DESCRIPTOR, "u2")
        stored = [flag for flag in descriptor if flag] if descriptor.size else [1] * (self._whole(_DIMENSIONS) or 1)
        if len(stored) != 1 or len(data) < wanted:
            raise EcgError(ReadFlag.ECG_DAMAGED)
        samples = np.frombuffer(data[:wanted], self._order + kind).astype(np.float64)
        start_s, rate_hz = self._axis(kind)
        names = self._text(_UNITS).split("\\")
        unit = _VOLTS.get(names[-1].strip(), "") if len(names) > 1 else ""
        if not np.isfinite(samples).all():
            raise EcgError(ReadFlag.ECG_DAMAGED)
        return _checked(samples, start_s, rate_hz, unit, EcgOrigin.CURVE)

    def _axis(self, kind: str) -> tuple[float, float]:
        """Start in s and samples a second.

        Raises:
            EcgError: the curve does not say, or in no unit of time, or its step is impossible.
        """
        starts, steps = self._numbers(_START, kind), self._numbers(_STEP, kind)
        unit = self._text(_UNITS).split("\\")[0].strip()
        if not starts.size or not steps.size or not (unit in _SECONDS or unit == _POINTS_A_SECOND):
            raise EcgError(ReadFlag.ECG_TIME_UNKNOWN)
        start, step = float(starts[0]), float(steps[0])
        if not (math.isfinite(start) and math.isfinite(step) and step > 0):
            raise EcgError(ReadFlag.ECG_TIME_UNKNOWN)
        # with data points per second as the unit, the step is the rate itself, and the start counts points
        if unit == _POINTS_A_SECOND:
            return start / step, step
        return start * _SECONDS[unit], 1 / (step * _SECONDS[unit])

    def _raw(self, element: int) -> bytes:
        """The bytes of an element as they are in the file; empty if it is missing."""
        tag = self._group | element
        if tag not in self._dataset:
            return b""
        value = self._dataset.get_item(tag).value
        return value if isinstance(value, bytes) else b""

    def _text(self, element: int) -> str:
        return self._raw(element).decode("ascii", "replace").strip(" \0").upper()

    def _whole(self, element: int) -> int | None:
        numbers = self._numbers(element, "u2")
        return int(numbers[0]) if numbers.size else None

    def _numbers(self, element: int, kind: str) -> Float[np.ndarray, " values"]:
        """Numbers of an element in the representation of the curve, else as the unsigned shorts of the dictionary."""
        data = self._raw(element)
        for each in (kind, "u2"):
            size = int(each[1])
            if data and len(data) % size == 0:
                return np.frombuffer(data, self._order + each).astype(np.float64)
        return np.zeros(0)
