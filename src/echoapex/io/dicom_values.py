"""Typed values of a DICOM data set, read so that a broken element is an absent one and never a crash or a leak."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from echoapex.io.clip_source import ReadError

_CONVERSION_ERRORS = (ValueError, TypeError, AttributeError, KeyError, NotImplementedError, OverflowError, LookupError)
_NOT_OF_THE_FILE = (KeyboardInterrupt, SystemExit, GeneratorExit)


@contextmanager
def muted_pydicom() -> Iterator[None]:
    """Silence the warnings and log lines of pydicom, which quote the values they complain about."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def clean_errors(display_name: str, while_doing: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into one ``ReadError`` without values, paths or a chained traceback.

    Args:
        display_name: name of the file in the error.
        while_doing: what was being done, as in "its header cannot be parsed".

    Raises:
        ReadError: anything was raised inside; one raised there passes unchanged.
    """
    try:
        with muted_pydicom():
            yield
    except (ReadError, *_NOT_OF_THE_FILE):
        raise
    except BaseException as error:  # native decoders raise what is no Exception: Rust's panics
        raise ReadError(display_name, _reason(error, while_doing), "check that the file is whole") from None


def _reason(error: BaseException, while_doing: str) -> str:
    """What went wrong in words of our own: the text of ``error`` may hold a path or a value."""
    if isinstance(error, MemoryError):
        return f"{while_doing} (it needs more memory than there is)"
    if isinstance(error, OSError) and error.errno:
        return f"{while_doing} ({os.strerror(error.errno)})"
    return while_doing


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The value of an element, or None where it is absent, empty or unreadable."""
    try:
        with muted_pydicom():
            value = dataset.get(keyword)
    except Exception:  # pydicom has errors of its own kind for bad lengths
        return None
    return None if value in (None, "", b"") else value


def numbers_of(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """The finite numbers of an element of any multiplicity; empty where one of them is unreadable."""
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    items = [value] if isinstance(value, str | int | float) else value
    try:
        numbers = tuple(float(item) for item in items)
    except _CONVERSION_ERRORS:
        return ()
    return numbers if all(math.isfinite(number) for number in numbers) else ()


def number_of(dataset: Dataset, keyword: str) -> float | None:
    """The first finite number of an element, or None."""
    numbers = numbers_of(dataset, keyword)
    return numbers[0] if numbers else None


def integer_of(dataset: Dataset, keyword: str) -> int | None:
    """The first number of an element as an integer, or None where there is none or it is no whole number."""
    number = number_of(dataset, keyword)
    return int(number) if number is not None and number == int(number) else None


def texts_of(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """The strings of an element of any multiplicity, stripped."""
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    items = value if isinstance(value, MultiValue | list | tuple) else [value]  # a PersonName iterates its letters
    return tuple(str(item).strip() for item in items)


def text_of(dataset: Dataset, keyword: str) -> str:
    """The first string of an element, stripped; empty where there is none."""
    texts = texts_of(dataset, keyword)
    return texts[0] if texts else ""
