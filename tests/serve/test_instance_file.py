"""Damaged data sets are told from whole ones, and the digest is that of the data set alone."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from echoapex.serve.instance_file import read_instance_header


def encoded(path: Path, **changes: object) -> bytes:
    dataset = dcmread(path)
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    file = BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def test_the_identity_of_a_whole_instance(small_study: list[Path]) -> None:
    header = read_instance_header(small_study[0].read_bytes())
    dataset = dcmread(small_study[0])
    assert header and header.is_analysed
    assert (header.study_uid, header.sop_uid) == (dataset.StudyInstanceUID, dataset.SOPInstanceUID)


@pytest.mark.parametrize("change", [{"StudyInstanceUID": None}, {"SOPInstanceUID": ""}, {"StudyInstanceUID": "a/../b"}])
def test_an_instance_without_identity(small_study: list[Path], change: dict[str, object]) -> None:
    assert read_instance_header(encoded(small_study[0], **change)) is None


def test_cut_and_damaged_instances(small_study: list[Path]) -> None:
    content = small_study[0].read_bytes()
    for part in (content[: len(content) // 3], content[:-500], content[:300]):
        assert read_instance_header(part) is None
    assert read_instance_header(b"\0" * 500) is None
    assert read_instance_header(b"") is None
    native = dcmread(small_study[0])
    native.decompress()
    file = BytesIO()
    native.save_as(file)
    assert native.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert read_instance_header(file.getvalue())
    assert read_instance_header(file.getvalue()[:-1000]) is None


def test_the_digest_leaves_out_who_wrote_the_file(small_study: list[Path]) -> None:
    dataset = dcmread(small_study[0])
    first = read_instance_header(encoded(small_study[0]))
    dataset.file_meta.ImplementationVersionName = "OTHER"
    dataset.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    file = BytesIO()
    dataset.save_as(file)
    other = read_instance_header(file.getvalue())
    changed = read_instance_header(encoded(small_study[0], InstanceNumber=77))
    assert first and other and changed
    assert first.sha256 == other.sha256 != changed.sha256


def test_reports_are_not_analysed(made_results: list[object]) -> None:
    for result in made_results:
        header = read_instance_header(result.path.read_bytes())  # type: ignore[attr-defined]
        assert header and not header.is_analysed
