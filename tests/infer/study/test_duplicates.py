"""One loop twice counts once; two loops of one patient never do."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from real_files import real_dicom

from echoapex.data.preprocess import prepare_frames
from echoapex.domain import ClipReport, Evidence, Measurement
from echoapex.infer.clip.reading import are_copies, sign_loop
from echoapex.infer.study.records import ClipRecord, PatientData, leave_out_copies
from echoapex.io.dicom.reader import open_dicom
from echoapex.phantom.study import StudyPlan, write_study
from echoapex.vocabulary import Quantity, View

Loops = dict[View, np.ndarray]


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Loops:
    """Four views of one simulated patient as the analysis sees them."""
    folder = tmp_path_factory.mktemp("loops") / "study"
    views = (View.A4C, View.A2C, View.PLAX, View.PSAX_PM)
    truth = write_study(folder, 1_000_021, StudyPlan(views=views, size=192))
    return {clip.view: prepare_frames(open_dicom(folder / clip.file), 192).pixels for clip in truth.clips}


def recode(loop: np.ndarray, scale: float, quality: int) -> np.ndarray:
    """The loop at another size, stored as JPEG, and prepared again."""
    frames = []
    for frame in loop:
        scaled = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        _, stored = cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, quality])
        read = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE)
        frames.append(cv2.resize(read, loop.shape[1:], interpolation=cv2.INTER_AREA))
    return np.stack(frames)


@pytest.mark.parametrize(("scale", "quality"), [(1.0, 100), (0.5, 80), (0.75, 60), (1.3, 85)])
def test_a_copy_at_another_size_is_known(loops: Loops, scale: float, quality: int) -> None:
    for loop in loops.values():
        assert are_copies(sign_loop(loop), sign_loop(recode(loop, scale, quality)))


def test_the_first_frames_of_a_loop_are_a_copy_of_it_and_so_are_later_ones(loops: Loops) -> None:
    whole = loops[View.A4C]
    assert are_copies(sign_loop(recode(whole[:20], 0.5, 80)), sign_loop(whole))
    assert are_copies(sign_loop(whole), sign_loop(recode(whole[5:30], 0.75, 80)))


def test_a_real_loop_and_its_first_second_at_half_the_size_are_copies() -> None:
    whole, half = (
        sign_loop(prepare_frames(open_dicom(real_dicom(name)), 160).pixels)
        for name in ("color3d_jpeg_baseline.dcm", "examples_ybr_color.dcm")
    )
    assert are_copies(whole, half)


def test_views_of_one_patient_differ(loops: Loops) -> None:
    signed = [sign_loop(loop) for loop in loops.values()]
    assert not any(are_copies(a, b) for index, a in enumerate(signed) for b in signed[:index])


def test_beats_of_one_patient_in_one_view_differ(loops: Loops) -> None:
    """The second half of a loop shows the same heart as the first, at other beats."""
    for loop in loops.values():
        half = min(32, len(loop) // 2)
        assert not are_copies(sign_loop(loop[:half]), sign_loop(loop[-half:]))


def test_a_still_is_no_copy_of_the_loop_it_was_taken_from_but_of_itself(loops: Loops) -> None:
    loop = loops[View.PLAX]
    still = sign_loop(loop[:1])
    assert not are_copies(still, sign_loop(loop))
    assert are_copies(still, sign_loop(recode(loop[:1], 0.5, 85)))


def test_what_shows_nothing_is_no_copy_of_anything() -> None:
    black = sign_loop(np.zeros((12, 96, 96), np.uint8))
    assert black == ()
    assert not are_copies(black, black)


def record(name: str, signature: tuple[str, ...], *, study: str = "s", mm: float | None = None) -> ClipRecord:
    evidence = (Evidence(clip_id=name, row_mm=mm, column_mm=mm),)
    value = Measurement(quantity=Quantity.LVEF, value=55.0, method="test", evidence=evidence)
    report = ClipReport(
        clip_id=name,
        file=f"{name}.dcm",
        frames=30,
        size=(8, 8),
        content="b_mode",
        view=View.A4C,
        row_mm=mm,
        column_mm=mm,
        measurements=(value,),
    )
    return ClipRecord(run_key="k", study=study, patient=PatientData(), report=report, signature=signature)


def test_the_calibrated_clip_is_the_original_and_the_copy_says_whose_it_is(loops: Loops) -> None:
    signed = sign_loop(loops[View.A4C])
    small, large = leave_out_copies([record("small", signed), record("large", signed, mm=0.3)])
    assert large.report.set_aside == ""
    assert len(large.report.measurements) == 1
    assert small.report.set_aside == "copy of clip large"
    assert small.report.measurements == ()
    assert small.report.view is View.A4C


def test_copies_are_looked_for_within_one_study(loops: Loops) -> None:
    signed = sign_loop(loops[View.A4C])
    pair = [record("a", signed, study="one"), record("b", signed, study="two")]
    assert leave_out_copies(pair) == pair
    nameless = leave_out_copies([record("a", signed, study="one"), record("b", signed, study="")])
    assert [each.report.set_aside for each in nameless] == ["", "copy of clip a"]


def test_three_times_is_once(loops: Loops) -> None:
    signed = sign_loop(loops[View.A2C])
    kept = leave_out_copies([record(name, signed) for name in "abc"])
    assert [each.report.set_aside for each in kept] == ["", "copy of clip a", "copy of clip a"]
