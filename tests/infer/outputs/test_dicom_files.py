"""``dicom/`` in the output: written only when asked for, removed when no longer, and honest about what is not there."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import LabelledStudy
from pydicom import dcmread

from echoapex.domain import ClipReport, StudyReport
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.outputs.dicom_files import DicomOutput, DicomOutputError
from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer
from echoapex.io.clip_file import ClipFile, OpenedClip, open_clip
from echoapex.io.clip_source import ReadError
from echoapex.io.dicom.source_instance import read_source_instance
from echoapex.io.pictures import open_video_writer
from echoapex.io.study_files import find_clips


def opened(path: Path) -> OpenedClip:
    (found,) = find_clips([path])
    assert isinstance(found, ClipFile), found
    return open_clip(found)


def report_of(*clips: OpenedClip, set_aside: str = "") -> StudyReport:
    return StudyReport(
        echoapex_version="1",
        clips=tuple(
            ClipReport(
                clip_id=clip.header.clip_id,
                file="clip",
                frames=clip.header.frame_count,
                size=clip.header.size,
                content="b_mode",
                set_aside=set_aside,
            )
            for clip in clips
        ),
    )


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    with open_video_writer(path, (64, 64), 25.0) as write:
        for level in range(4):
            write(np.full((64, 64, 3), 40 * level, np.uint8))
    return path


def test_a_source_that_is_no_dicom_is_one_line_and_the_rest_goes_on(labelled_study: LabelledStudy, video: Path) -> None:
    output = DicomOutput(reports=True, segmentations=True)
    clips = (opened(labelled_study.folder / "A4C.dcm"), opened(video))
    for clip in clips:
        output.remember(clip)
    (note,) = output.notes(report_of(*clips))
    assert note == ("no DICOM SR and SEG for 1 of 2 clips: it must refer to a DICOM image, and the file is no DICOM")
    assert output.notes(report_of(clips[0])) == ()
    assert output.notes(report_of(*clips, set_aside="M-mode")) == ("no DICOM SR and SEG: no clip was analysed",)
    pictures = DicomOutput(pictures=True)
    pictures.remember(clips[1])
    assert pictures.notes(report_of(clips[1]))[0].startswith("no DICOM SC for 1 of 1 clips")


def test_pictures_alone_are_one_object_and_go_with_the_next_run(labelled_study: LabelledStudy, tmp_path: Path) -> None:
    models = NamedInterpreter(labelled_study.oracle, "oracle", "cpu")
    analyzer = StudyAnalyzer(models, AnalysisOptions(overlays=False, contours="ed_es"))
    paths, out = [labelled_study.folder / "PLAX.dcm"], tmp_path / "o"
    analyzer.run(paths, out, None, DicomOutput(pictures=True))
    assert [path.name for path in (out / "dicom").iterdir()] == ["study-1-pictures-sc.dcm"]
    first = dcmread(out / "dicom" / "study-1-pictures-sc.dcm")
    # the clip is taken over from the run before, and its picture is the same
    analyzer.run(paths, out, None, DicomOutput(pictures=True))
    second = dcmread(out / "dicom" / "study-1-pictures-sc.dcm")
    assert second.PixelData == first.PixelData
    assert second.SOPInstanceUID != first.SOPInstanceUID
    analyzer.run(paths, out)
    assert list((out / "dicom").iterdir()) == []


def test_a_study_of_videos_writes_no_object(video: Path, tmp_path: Path) -> None:
    output = DicomOutput(reports=True)
    output.remember(opened(video))
    assert output.write(tmp_path, report_of(opened(video)), "set") == ([], ())
    assert not (tmp_path / "dicom").exists()


def test_a_dicom_file_without_uids_is_told_apart(labelled_study: LabelledStudy, tmp_path: Path) -> None:
    dataset = dcmread(labelled_study.folder / "A4C.dcm")
    del dataset.StudyInstanceUID
    dataset.save_as(tmp_path / "clip.dcm")
    output = DicomOutput(reports=True)
    clip = opened(tmp_path / "clip.dcm")
    output.remember(clip)
    (note,) = output.notes(report_of(clip))
    assert "the file has no StudyInstanceUID" in note


def test_a_value_that_dicom_does_not_allow_costs_one_object_and_no_more(
    labelled_study: LabelledStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("Müller^Jürgen is no name")

    monkeypatch.setattr("echoapex.io.structured_report.write_echo_report", refuse)
    models = NamedInterpreter(labelled_study.oracle, "oracle", "cpu")
    options = AnalysisOptions(overlays=False, contours="ed_es")
    out = tmp_path / "o"
    report = StudyAnalyzer(models, options).run(
        [labelled_study.folder / "PLAX.dcm"], out, None, DicomOutput(reports=True)
    )
    (note,) = report.notes
    assert note.startswith("dicom/study-1-echo-sr.dcm: not written") and "Müller" not in note
    assert [path.name for path in (out / "dicom").iterdir()] == ["study-1-measurements-sr.dcm"]


def test_objects_go_when_a_later_run_does_not_ask_for_them(labelled_study: LabelledStudy, tmp_path: Path) -> None:
    models = NamedInterpreter(labelled_study.oracle, "oracle", "cpu")
    options = AnalysisOptions(overlays=False, contours="ed_es")
    analyzer, paths, out = StudyAnalyzer(models, options), [labelled_study.folder / "PLAX.dcm"], tmp_path / "o"
    analyzer.run(paths, out, None, DicomOutput(segmentations=True))
    assert [path.suffix for path in (out / "dicom").iterdir()] == [".dcm"]
    # taken over from the run before, and written nevertheless
    analyzer.run(paths, out, None, DicomOutput(reports=True))
    names = {path.name for path in (out / "dicom").iterdir()}
    assert names == {"study-1-echo-sr.dcm", "study-1-measurements-sr.dcm"}
    listed = json.loads((out / "manifest.json").read_text())["files"]
    assert {name for name in listed if name.startswith("dicom/")} == {f"dicom/{name}" for name in names}
    analyzer.run(paths, out)
    assert list((out / "dicom").iterdir()) == []


def test_a_packed_study_has_objects_too(labelled_study: LabelledStudy, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(labelled_study.folder / "PLAX.dcm", "a/PLAX.dcm")
    models = NamedInterpreter(labelled_study.oracle, "oracle", "cpu")
    options = AnalysisOptions(overlays=False, contours="ed_es")
    StudyAnalyzer(models, options).run([tmp_path / "study.zip"], tmp_path / "o", None, DicomOutput(True, True))
    assert len(list((tmp_path / "o" / "dicom").iterdir())) == 3


def test_without_highdicom_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echoapex.infer.outputs.dicom_files.find_spec", lambda name: None)
    with pytest.raises(DicomOutputError, match=r"pip install 'echoapex\[dicom\]'"):
        DicomOutput(reports=True)


def test_an_unreadable_file_is_no_surprise(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(b"not dicom at all")
    with pytest.raises(ReadError):
        read_source_instance(tmp_path / "x.dcm", "clip")
