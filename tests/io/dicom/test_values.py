"""Broken elements are absent ones, and errors say nothing that a file says."""

from __future__ import annotations

import logging
import traceback
import warnings

import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from echoapex.io.clip_source import ReadError, clean_errors, muted_pydicom
from echoapex.io.dicom.header import integer_of, number_of, numbers_of, text_of, texts_of, value_of


def raw(keyword: str, vr: str, value: bytes) -> Dataset:
    """A data set with one element as it would come from a file."""
    dataset = Dataset()
    tag = Tag(keyword)
    dataset._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return dataset


def test_values_are_read_by_type() -> None:
    dataset = Dataset()
    dataset.FrameTimeVector = ["0", "33.3", "33.3"]
    dataset.Rows, dataset.Modality, dataset.ImageType = 480, "US ", ["ORIGINAL", "PRIMARY"]
    dataset.PatientName = "Quartz^Aurelia"
    assert numbers_of(dataset, "FrameTimeVector") == (0, 33.3, 33.3)
    assert number_of(dataset, "FrameTimeVector") == 0
    assert integer_of(dataset, "Rows") == 480
    assert text_of(dataset, "Modality") == "US"
    assert texts_of(dataset, "ImageType") == ("ORIGINAL", "PRIMARY")
    assert text_of(dataset, "PatientName") == "Quartz^Aurelia"


@pytest.mark.parametrize("value", [b"3`", b"Quartz", b"", b"nan", b"1e999", b"3\\x"])
def test_a_broken_number_is_none_and_silent(value: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert numbers_of(raw("FrameTime", "DS", value), "FrameTime") == ()
        assert integer_of(raw("NumberOfFrames", "IS", value), "NumberOfFrames") is None


def test_a_fraction_is_no_integer() -> None:
    assert integer_of(raw("CineRate", "DS", b"18.5"), "CineRate") is None


def test_absent_elements() -> None:
    assert (number_of(Dataset(), "Rows"), text_of(Dataset(), "Modality"), texts_of(Dataset(), "ImageType")) == (
        None,
        "",
        (),
    )


@pytest.mark.parametrize(
    "error",
    [ValueError("Quartz"), OSError(2, "x", "/home/quartz/a.dcm"), RecursionError("Quartz"), MemoryError("Quartz")],
)
def test_any_error_becomes_a_clean_one(error: Exception) -> None:
    with pytest.raises(ReadError) as caught, clean_errors("file-1", "its header cannot be parsed"):
        raise error
    printed = "".join(traceback.format_exception(caught.value))
    shown = printed.replace("raise error", "")
    assert caught.value.reason.startswith("its header cannot be parsed")
    assert "Quartz" not in shown and "quartz" not in shown


def test_a_read_error_passes_unchanged() -> None:
    original = ReadError("a", "b", "c")
    with pytest.raises(ReadError) as caught, clean_errors("file-1", "something"):
        raise original
    assert caught.value is original


def test_pydicom_is_silent_only_inside(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("pydicom")
    with muted_pydicom():
        logger.warning("Quartz")
    logger.warning("outside")
    assert [record.message for record in caplog.records] == ["outside"]


class _Panic(BaseException):
    """What the Rust decoders raise: no Exception, and not to be pickled."""

    def __reduce__(self) -> str:
        raise TypeError("cannot be pickled")


def test_what_is_no_exception_becomes_a_read_error_too() -> None:
    expected = pytest.raises(ReadError, match=r"^a.dcm: frame 3 cannot be decoded; ")
    with expected, clean_errors("a.dcm", "frame 3 cannot be decoded"):
        raise _Panic("value of the file")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_error_of_the_file(error: type[BaseException]) -> None:
    with pytest.raises(error), clean_errors("a.dcm", "cannot be read"):
        raise error


@pytest.mark.parametrize(
    ("keyword", "vr"), [("Rows", "US"), ("FrameIncrementPointer", "AT"), ("RWaveTimeVector", "FL")]
)
def test_a_value_of_an_impossible_length_is_absent(keyword: str, vr: str) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    dataset = Dataset()
    dataset[tag] = RawDataElement(Tag(tag), vr, 3, b"\1\0\0", 0, False, True)

    assert not value_of(dataset, keyword)
    assert numbers_of(dataset, keyword) == ()
