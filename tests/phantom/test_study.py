"""Phantom studies: complete, deterministic, resumable, readable by the real reader, and their truth is true."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread

from echoapex.domain import WallPoint
from echoapex.io.dicom.reader import open_dicom
from echoapex.measure import find_r_waves
from echoapex.phantom import study as study_module
from echoapex.phantom.patient import sample_patient
from echoapex.phantom.study import StudyPlan, StudyPlanError, study_name, write_studies, write_study
from echoapex.phantom.truth import FIRST_HELD_OUT_SEED, StudyTruth, read_label_maps, read_truth
from echoapex.vocabulary import Structure, View

SEED = 7
PLAN = StudyPlan(views=(View.PLAX, View.A4C), size=112)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("phantom") / study_name(SEED)
    write_study(directory, SEED, PLAN)
    return directory


@pytest.fixture(scope="module")
def truth(folder: Path) -> StudyTruth:
    return read_truth(folder)


def digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_study_holds_its_files_and_no_more(folder: Path) -> None:
    assert sorted(digests(folder)) == ["A4C.dcm", "PLAX.dcm", "truth.json", "truth/A4C.npz", "truth/PLAX.npz"]
    assert not list(folder.parent.glob(".*"))


def test_same_seed_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / folder.name
    write_study(again, SEED, PLAN)
    assert digests(again) == digests(folder)


def test_the_views_of_a_study_are_drawn_apart(folder: Path, tmp_path: Path) -> None:
    """A clip does not depend on which other views were asked for."""
    alone = tmp_path / folder.name
    write_study(alone, SEED, StudyPlan(views=(View.A4C,), size=112))
    assert digests(alone)["A4C.dcm"] == digests(folder)["A4C.dcm"]


def test_one_patient_one_study_one_machine(folder: Path, truth: StudyTruth) -> None:
    plax, a4c = (pydicom.dcmread(folder / name) for name in ("PLAX.dcm", "A4C.dcm"))
    patient = sample_patient(SEED)
    assert plax.PatientName == a4c.PatientName == "PHANTOM^0007"
    assert plax.StudyInstanceUID == a4c.StudyInstanceUID
    assert plax.SOPInstanceUID != a4c.SOPInstanceUID
    assert plax.ManufacturerModelName == a4c.ManufacturerModelName
    assert plax.PatientSex == truth.patient.sex == patient.sex
    assert truth.ejection_fraction_percent == patient.ejection_fraction_percent
    assert truth.patient.bsa_m2 == pytest.approx(np.sqrt(truth.patient.height_m * truth.patient.weight_kg / 36))


def test_nothing_in_the_file_tells_the_view(folder: Path) -> None:
    dataset = pydicom.dcmread(folder / "PLAX.dcm", stop_before_pixels=True)
    assert "PLAX" not in str(dataset)
    assert "parasternal" not in str(dataset).lower()


def test_truth_belongs_to_the_files(folder: Path, truth: StudyTruth) -> None:
    assert [clip.view for clip in truth.clips] == [View.PLAX, View.A4C]
    for clip in truth.clips:
        assert hashlib.sha256((folder / clip.file).read_bytes()).hexdigest() == clip.sha256
        labels = read_label_maps(folder / clip.label_file)
        assert sorted(labels) == sorted({clip.ed_frame, clip.es_frame}) == list(clip.label_frames)
        assert all(label.shape == clip.size for label in labels.values())
        ed_area, es_area = ((labels[frame] == Structure.LV_CAVITY).sum() for frame in (clip.ed_frame, clip.es_frame))
        assert 0 < es_area < ed_area


def test_a_clip_holds_a_whole_beat(truth: StudyTruth) -> None:
    for clip in truth.clips:
        beat_s = 60 / truth.patient.heart_rate_bpm
        assert beat_s < clip.frame_times_s[-1] < 1.4 * beat_s
        assert len(clip.frame_times_s) <= study_module.MAX_FRAMES
        # sampled volumes come within a frame of the true extremes
        assert max(clip.volumes_ml) == pytest.approx(truth.edv_ml, rel=0.03)
        assert min(clip.volumes_ml) == pytest.approx(truth.esv_ml, rel=0.06)
        assert clip.r_wave_times_s


def test_walls_are_the_distances_between_their_points(truth: StudyTruth) -> None:
    plax = truth.find(View.PLAX)
    assert plax is not None
    assert plax.walls is not None
    points = [np.array(plax.walls.points_xy[point]) for point in WallPoint]
    measured = [plax.spacing.distance_mm(a, b) for a, b in itertools.pairwise(points)]
    assert measured == pytest.approx([plax.walls.ivsd_mm, plax.walls.lvidd_mm, plax.walls.lvpwd_mm], abs=0.1)
    a4c = truth.find(View.A4C)
    assert a4c is not None
    assert a4c.walls is None


def test_the_real_reader_agrees_with_the_truth(folder: Path, truth: StudyTruth) -> None:
    for clip in truth.clips:
        header = open_dicom(folder / clip.file).header
        assert header.size == clip.size
        assert header.frame_times_s == pytest.approx(clip.frame_times_s, abs=1e-6)
        assert header.spacing is not None
        assert header.spacing.row_mm == pytest.approx(clip.row_mm, rel=1e-6)
        assert header.heart_rate_bpm == pytest.approx(truth.patient.heart_rate_bpm, abs=0.5)
        assert header.patient_height_m == pytest.approx(truth.patient.height_m, abs=1e-3)


def test_a_second_run_completes_the_first(tmp_path: Path) -> None:
    plan = StudyPlan(views=(View.PSAX_PM,), size=96)
    run = write_studies(tmp_path, studies=2, seed=3, plan=plan)
    first = next(run)
    run.close()
    before = (first / "PSAX_PM.dcm").stat().st_mtime_ns
    (tmp_path / ".study-000004.partial").mkdir()
    done = list(write_studies(tmp_path, studies=2, seed=3, plan=plan))
    assert [path.name for path in done] == ["study-000003", "study-000004"]
    assert (first / "PSAX_PM.dcm").stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study-000003", "study-000004"]


def test_an_interruption_leaves_no_half_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study_module, "write_truth", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_study(tmp_path / "study-000005", 5, StudyPlan(views=(View.PSAX_PM,), size=96))
    assert not list(tmp_path.iterdir())


def test_workers_do_not_change_the_bytes(tmp_path: Path) -> None:
    plan = StudyPlan(views=(View.PSAX_PM,), size=96)
    alone, together = tmp_path / "alone", tmp_path / "together"
    list(write_studies(alone, studies=2, seed=11, plan=plan))
    list(write_studies(together, studies=2, seed=11, plan=plan, workers=2))
    assert digests(alone) == digests(together)


def test_all_frames_can_be_labelled(tmp_path: Path) -> None:
    truth = write_study(tmp_path / "s", 5, StudyPlan(views=(View.PSAX_PM,), size=96, label_frames="all"))
    (clip,) = truth.clips
    assert clip.label_frames == tuple(range(len(clip.frame_times_s)))


def test_another_plan_is_refused_for_a_finished_study(folder: Path) -> None:
    with pytest.raises(StudyPlanError, match="another seed, plan"):
        write_study(folder, SEED, StudyPlan(views=(View.PLAX,), size=112))
    with pytest.raises(StudyPlanError, match="another seed"):
        write_study(folder, SEED + 1, PLAN)


def test_a_foreign_folder_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "study-000001").mkdir()
    (tmp_path / "study-000001" / "mine.txt").write_text("keep")
    with pytest.raises(StudyPlanError, match="no finished study"):
        write_study(tmp_path / "study-000001", 1, PLAN)
    assert (tmp_path / "study-000001" / "mine.txt").read_text() == "keep"


def test_training_and_held_out_patients_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(StudyPlanError, match="held-out"):
        next(write_studies(tmp_path, studies=2, seed=FIRST_HELD_OUT_SEED - 1))
    assert read_held_out(tmp_path / "a", FIRST_HELD_OUT_SEED - 1) is False
    assert read_held_out(tmp_path / "b", FIRST_HELD_OUT_SEED) is True


def read_held_out(directory: Path, seed: int) -> bool:
    return write_study(directory, seed, StudyPlan(views=(View.PSAX_PM,), size=96)).held_out


@pytest.mark.parametrize("values", [{"views": ()}, {"views": (View.A4C, View.A4C)}, {"size": 64}])
def test_impossible_plans_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(StudyPlanError):
        StudyPlan(**values)  # type: ignore[arg-type]


def test_the_ecg_is_added_on_request_and_changes_nothing_else(tmp_path: Path) -> None:
    plan = StudyPlan(views=(View.A4C,), size=96)
    write_study(tmp_path / "plain", SEED, plan)
    truth = write_study(tmp_path / "traced", SEED, replace(plan, ecg=True))
    plain, traced = (dcmread(tmp_path / name / "A4C.dcm") for name in ("plain", "traced"))
    assert "WaveformSequence" not in plain
    del traced.WaveformSequence
    assert traced == plain

    header = open_dicom(tmp_path / "traced" / "A4C.dcm").header
    assert header.ecg is not None and header.ecg.unit == "mV"
    assert header.ecg.start_s == 0 and header.ecg.end_s >= truth.clips[0].frame_times_s[-1]
    found = find_r_waves(header.ecg.samples, header.ecg.rate_hz)
    inside = [time for time in truth.clips[0].r_wave_times_s if 0.05 < time < header.ecg.end_s - 0.05]
    assert inside and all(min(abs(time - each) for each in found) < 0.01 for time in inside)

    assert write_study(tmp_path / "traced", SEED, replace(plan, ecg=True)) == truth
    with pytest.raises(StudyPlanError, match="another seed, plan"):
        write_study(tmp_path / "traced", SEED, plan)
