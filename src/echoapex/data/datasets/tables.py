"""CSV tables of public data sets, read row by row, with errors that name the file, the line and the remedy."""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from echoapex.data.datasets.records import DatasetError

Row = dict[str, str]


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a table with a heading line; memory holds one row. ``.gz`` is expanded on the way.

    Args:
        path: the table.
        columns: columns that it must have; others are passed on too.

    Yields:
        Column to text, stripped of blanks; a cell that a short row lacks is empty.

    Raises:
        DatasetError: the table is missing, is no text, or lacks a column.
    """
    try:
        with _opened(path) as stream:
            reader = csv.DictReader(stream)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(
                    f"{path.name}: lacks the column {', '.join(missing)} "
                    f"(it has {', '.join(reader.fieldnames or ['none'])}); take the official table, unchanged"
                )
            for row in reader:
                yield {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
    except FileNotFoundError as error:
        raise DatasetError(f"{path.name}: is missing in {path.parent}; check --root, or download it again") from error
    except (OSError, EOFError) as error:
        raise DatasetError(f"{path.name}: cannot be read ({error}); check the file, or download it again") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path.name}: is no CSV text in UTF-8 ({error}); download it again") from error


def _opened(path: Path) -> TextIO:
    # a byte order mark, which spreadsheets write, is no part of the first column
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")
    return path.open(newline="", encoding="utf-8-sig")


def number(text: str) -> float | None:
    """A finite number, or None where the cell is empty or holds something else.

    >>> number("54.5"), number("nan"), number("No Systolic")
    (54.5, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole_number(text: str) -> int | None:
    """A whole number (``12`` or ``12.0``), or None.

    >>> whole_number("46"), whole_number("46.0"), whole_number("46.5")
    (46, 46, None)
    """
    value = number(text)
    return int(value) if value is not None and value == int(value) else None


def video_name(name: str) -> str:
    """A video's file name, with the ``.avi`` that some lists leave out.

    >>> video_name("0X1A"), video_name("0X1A.avi")
    ('0X1A.avi', '0X1A.avi')
    """
    return name if name.lower().endswith(".avi") else f"{name}.avi"
