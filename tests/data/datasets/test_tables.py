from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from echoapex.data.datasets import DatasetError
from echoapex.data.datasets.records import read_rows


def test_rows_are_stripped_completed_and_freed_of_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfFileName,EF,Note\r\n 0X1 , 54 ,a\r\n0X2\r\n")
    assert list(read_rows(tmp_path / "t.csv", ("FileName", "EF"))) == [
        {"FileName": "0X1", "EF": "54", "Note": "a"},
        {"FileName": "0X2", "EF": "", "Note": ""},
    ]


def test_a_packed_table_is_expanded(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert list(read_rows(tmp_path / "t.csv.gz", ("a",))) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", b"a,b\n1,2\n", r"t\.csv: lacks the column c \(it has a, b\)"),
        ("t.csv", b"C ,b\n1,2\n", r"lacks the column c .*; is its column 'C ' meant to be 'c'\?; take the official"),
        ("t.csv", b"", r"t\.csv: lacks the column c \(it has none\)"),
        ("t.csv", b"c\n\xff\xfe\n", r"t\.csv: is no CSV text in UTF-8"),
        ("t.csv.gz", b"c\n1\n", r"t\.csv\.gz: cannot be read"),
        ("t.csv.gz", gzip.compress(b"c\n" + b"1\n" * 1000)[:-12], r"t\.csv\.gz: cannot be read"),
    ],
)
def test_a_foreign_or_damaged_table_is_named(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=problem):
        list(read_rows(tmp_path / name, ("c",)))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"t\.csv: is missing in"):
        list(read_rows(tmp_path / "t.csv", ()))


def test_a_long_table_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("subject_id,dicom_filepath\n" + "10002221,files/p10/p10002221/s94106955/1.dcm\n" * 100_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(path, ("subject_id",))) == 100_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000, "a 4.5 MB table must not be held in memory"
