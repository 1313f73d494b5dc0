"""A closed list of vendors: what is known is named, everything else says nothing."""

from __future__ import annotations

import pytest

from echoapex.io.dicom.reader import vendor_of


@pytest.mark.parametrize(
    ("vendor", "text"),
    [
        ("philips", "Philips Medical Systems"),
        ("ge", "GE Healthcare Ultrasound"),
        ("ge", "GEMS Ultrasound"),
        ("siemens", "ACUSON"),
        ("canon", "TOSHIBA_MEC_US"),
        ("fujifilm", "HITACHI ALOKA"),
        ("other", "Quartz Hospital"),
        ("other", "Georgetown Imaging"),
        ("", "  "),
    ],
)
def test_vendors(vendor: str, text: str) -> None:
    assert vendor_of(text) == vendor
