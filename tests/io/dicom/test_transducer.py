"""A closed list of kinds: what is known is named, everything else says nothing."""

from __future__ import annotations

import pytest

from echoapex.io.dicom.reader import probe_kind


@pytest.mark.parametrize(
    ("kind", "transducer_type", "data"),
    [
        ("phased", ["SECTOR_PHASED"], ["S5-1", "", ""]),
        ("tee", ["SECTOR_PHASED"], ["X8-2t"]),
        ("tee", [], ["6VT-D"]),
        ("ice", [], ["ACUNAV 8F"]),
        ("curved", ["CURVED LINEAR"], []),
        ("linear", ["LINEAR"], []),
        ("", [], ["C90210 Jane"]),
        ("", [], []),
    ],
)
def test_probes(kind: str, transducer_type: list[str], data: list[str]) -> None:
    assert probe_kind(transducer_type, data) == kind
