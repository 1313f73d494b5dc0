"""Public data sets as references: what is true, of which patient, and what is left out and said so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_findings import write_table
from tiny_clip_folder import write_tiny_clip_folder
from tiny_corrections import write_tiny_corrections
from tiny_echonet_dynamic import write_tiny_echonet_dynamic
from tiny_echonet_lvh import write_tiny_echonet_lvh
from tiny_echonet_pediatric import write_tiny_echonet_pediatric
from tiny_hmc_qu import FIRST, LAST, write_tiny_hmc_qu
from tiny_mimic_iv_echo import write_tiny_mimic_iv_echo
from tiny_tmed2 import write_tiny_tmed2
from tiny_unity import write_tiny_unity
from written_results import write_results

from echoapex.data.datasets import DATASETS, DatasetError
from echoapex.evaluate.dataset_truth import SCORED, read_dataset_reference
from echoapex.evaluate.harness import score_predictions
from echoapex.evaluate.metrics_file import MetricsFile
from echoapex.evaluate.reference import ReferenceSet, ReferenceSetError, read_predictions
from echoapex.metrics import dice
from echoapex.vocabulary import Quantity, Structure, View


def score_perfect(reference: ReferenceSet, folder: Path) -> MetricsFile:
    for study in reference.studies:
        write_results(folder / study.folder, study)
    return score_predictions(reference, read_predictions(folder))[0]


def test_every_registered_data_set_but_camus_is_scored_as_it_is() -> None:
    assert set(SCORED) == set(DATASETS) - {"camus"}


def test_echonet_dynamic_gives_ejection_fraction_and_traced_frames(tmp_path: Path) -> None:
    clips = write_tiny_echonet_dynamic(tmp_path)
    reference = read_dataset_reference("echonet_dynamic", tmp_path)
    (study,) = reference.studies
    truth = clips[f"{study.patient}.avi"]
    assert (reference.split, study.study) == ("TEST", "")
    assert study.values[Quantity.LVEF] == pytest.approx(truth.ejection_fraction_percent, abs=1e-5)
    assert Quantity.EDV not in study.values, "no pixel size, no millilitres"
    (clip,) = study.clips
    assert (clip.view, clip.structures) == (View.A4C, (Structure.LV_CAVITY,))
    assert set(clip.outlined_frames) == {truth.ed_frame, truth.es_frame}
    for frame, labels in clip.read_labels().items():
        assert dice(labels == 1, truth.labels[frame] == int(Structure.LV_CAVITY)) > 0.95
    assert len(read_dataset_reference("echonet_dynamic", tmp_path, "train").studies) == 2
    metrics = score_perfect(reference, tmp_path / "results")
    assert metrics.segmentation.lv_cavity.dice.value == 1
    assert metrics.ejection_fraction.mae.value == 0


def test_echonet_pediatric_resamples_children_not_videos(tmp_path: Path) -> None:
    write_tiny_echonet_pediatric(tmp_path)
    table = tmp_path / "A4C" / "FileList.csv"
    # a second visit of the first child
    lines = table.read_text().splitlines()
    first = next(line for line in lines if line.startswith("CR32a0000"))
    lines = [line.replace("CR32a0001-", "CR32a0000-") for line in lines]
    table.write_text("\n".join(lines) + "\n")
    old = next((tmp_path / "A4C" / "Videos").glob("CR32a0001-*"))
    old.rename(old.with_name(old.name.replace("CR32a0001-", "CR32a0000-")))
    reference = read_dataset_reference("echonet_pediatric", tmp_path)
    assert [study.patient for study in reference.studies] == ["CR32a0000", "CR32a0000", "CR32a0002"]
    assert reference.studies[0].study == f"A4C/{first.split(',')[0]}"
    assert len({study.folder for study in reference.studies}) == 3
    assert all("/" not in study.folder for study in reference.studies)
    assert all(clip.view is View.A4C for study in reference.studies for clip in study.clips)
    assert any("PSAX" in note for note in reference.notes)
    metrics = score_perfect(reference, tmp_path / "results")
    assert metrics.ejection_fraction.mae.n == 3
    assert metrics.segmentation.lv_cavity.dice.n == 4, "the renamed video has no outlines any more"


def test_echonet_lvh_is_scored_where_spacing_was_recovered(tmp_path: Path) -> None:
    clips = write_tiny_echonet_lvh(tmp_path)
    table = tmp_path / "MeasurementsList.csv"
    name = sorted(clips)[0].removesuffix(".avi")
    # one video whose lines disagree: a septum twice as long
    rows = [row.split(",") for row in table.read_text().splitlines()]
    column = rows[0].index("CalcValue")
    for row in rows:
        if name in row and "IVSd" in row:
            row[column] = str(2 * float(row[column]))
    table.write_text("\n".join(",".join(row) for row in rows) + "\n")
    reference = read_dataset_reference("echonet_lvh", tmp_path, "all")
    assert len(reference.studies) == 4
    measured = [study for study in reference.studies if study.values]
    assert [study.patient for study in measured] == sorted(clips)[1:]
    for study in measured:
        truth = clips[study.patient]
        assert study.values[Quantity.IVSD] == pytest.approx(truth.walls.ivsd_mm, abs=1e-3)
        spacing = study.clips[0].spacing
        assert spacing is not None
        assert spacing.row_mm == pytest.approx(truth.spacing.row_mm, rel=0.05)
    assert any("no pixel size" in note for note in reference.notes)
    assert score_perfect(reference, tmp_path / "results").lv_wall.ivsd.mae_mm.n == 3


def test_tmed2_scores_the_views_that_it_tells_exactly(tmp_path: Path) -> None:
    write_tiny_tmed2(tmp_path)
    reference = read_dataset_reference("tmed2", tmp_path, "train")
    views = {clip.name: clip.view for study in reference.studies for clip in study.clips}
    assert sorted(views.values()) == [View.A4C, View.PLAX, View.PLAX]
    assert {study.key for study in reference.studies} == {"1001s1", "1001s2", "2001s1"}
    assert {study.patient for study in reference.studies} == {"1001", "2001"}
    assert any("PSAX" in note for note in reference.notes)
    with pytest.raises(ReferenceSetError, match="nothing of the split 'test' can be scored"):
        read_dataset_reference("tmed2", tmp_path)


def test_hmc_qu_gives_views_and_the_wall_over_the_cycle(tmp_path: Path) -> None:
    clips = write_tiny_hmc_qu(tmp_path)
    reference = read_dataset_reference("hmc_qu", tmp_path)
    first = next(study for study in reference.studies if study.patient == "ES0001")
    assert sorted(clip.view for clip in first.clips) == [View.A2C, View.A4C]
    a4c = next(clip for clip in first.clips if clip.view is View.A4C)
    assert a4c.structures == (Structure.LV_MYOCARDIUM,)
    assert a4c.outlined_frames == tuple(range(FIRST - 1, LAST))
    truth = clips["A4C/ES0001 _4CH_1.avi"].labels[FIRST - 1] == int(Structure.LV_MYOCARDIUM)
    assert dice(a4c.read_labels()[FIRST - 1] == int(Structure.LV_MYOCARDIUM), truth) > 0.95
    assert not first.values


def test_unity_gives_outlines_and_one_view(tmp_path: Path) -> None:
    write_tiny_unity(tmp_path)
    reference = read_dataset_reference("unity", tmp_path)
    clips = [clip for study in reference.studies for clip in study.clips]
    assert sorted((clip.view or "", clip.structures) for clip in clips) == [
        ("", (Structure.LV_CAVITY,)),
        ("", (Structure.LV_CAVITY,)),
        (View.PLAX, ()),
        (View.PLAX, ()),
    ]
    assert any("millimetres" in note for note in reference.notes)
    metrics = score_perfect(reference, tmp_path / "results")
    assert (metrics.clips, metrics.views.balanced_accuracy.n) == (4, 2)
    assert metrics.segmentation.lv_cavity.dice.value == 1
    assert metrics.segmentation.lv_cavity.by_view == {}


def test_mimic_has_studies_of_many_clips_and_one_ejection_fraction(tmp_path: Path) -> None:
    write_tiny_mimic_iv_echo(tmp_path)
    reference = read_dataset_reference("mimic_iv_echo", tmp_path)
    assert reference.studies
    for study in reference.studies:
        assert set(study.values) == {Quantity.LVEF, Quantity.LVEF_DISCS}
        assert study.study.startswith(study.patient)
        assert all(clip.view is None for clip in study.clips)


def test_a_folder_gives_what_its_table_tells(tmp_path: Path) -> None:
    clips = write_tiny_clip_folder(tmp_path)
    reference = read_dataset_reference("folder", tmp_path)
    assert [study.patient for study in reference.studies] == ["P0", "P1", "P2"]
    study, truth = reference.studies[0], clips["ward 0/clip0.avi"]
    assert study.values[Quantity.EDV] == pytest.approx(truth.edv_ml, abs=1e-3)
    assert study.clips[0].spacing is not None
    assert reference.ejection_fraction_source == "simulated volumes"
    assert [study.patient for study in read_dataset_reference("folder", tmp_path, "val").studies] == ["P1"]


def test_what_cannot_be_taken_is_left_out_and_said(tmp_path: Path) -> None:
    write_tiny_clip_folder(tmp_path)
    (tmp_path / "ward 0" / "clip0.avi").unlink()
    (tmp_path / "ward 1" / "clip1.avi").write_bytes(b"no video")
    twice = tmp_path / "ward 2" / "copy.avi"
    twice.write_bytes((tmp_path / "ward 2" / "clip2.avi").read_bytes())
    with (tmp_path / "clips.csv").open("a") as table:
        table.write("ward 2/copy.avi,P3,A4C,test,50,,,,,,\n")
    reference = read_dataset_reference("folder", tmp_path)
    assert [study.patient for study in reference.studies] == ["P2"]
    assert set(reference.notes) == {
        "1 listed clips are not there",
        "1 clips cannot be read",
        "1 clips are there twice, and scored once",
        "clips of the splits test, train, val are scored together: use --split for weights trained on one",
    }


def test_nothing_to_score_is_refused_with_the_reason(tmp_path: Path) -> None:
    write_tiny_clip_folder(tmp_path)
    write_table(tmp_path / "clips.csv", ["file"], [{"file": "ward 0/clip0.avi"}])
    with pytest.raises(ReferenceSetError, match="1 clips have no truth that is scored"):
        read_dataset_reference("folder", tmp_path)
    with pytest.raises(DatasetError, match="none of train, val, test, all"):
        read_dataset_reference("folder", tmp_path, "held_out")


def test_clips_that_contradict_each_other_are_refused_unless_studies_tell_them_apart(tmp_path: Path) -> None:
    write_tiny_clip_folder(tmp_path)
    columns = ["file", "patient", "ef_percent", "study"]
    rows = [(f"ward {n}/clip{n}.avi", "P", str(40 + n), "") for n in range(2)]
    write_table(tmp_path / "clips.csv", columns, [dict(zip(columns, row, strict=True)) for row in rows])
    with pytest.raises(ReferenceSetError, match=r"P: its clips give several values .* column study"):
        read_dataset_reference("folder", tmp_path)
    told = [(file, patient, ef, f"visit {ef}") for file, patient, ef, _ in rows]
    write_table(tmp_path / "clips.csv", columns, [dict(zip(columns, row, strict=True)) for row in told])
    studies = read_dataset_reference("folder", tmp_path).studies
    assert [(study.patient, study.study) for study in studies] == [("P", "P visit 40"), ("P", "P visit 41")]


def test_outlines_beyond_the_video_are_left_out(tmp_path: Path) -> None:
    write_tiny_echonet_dynamic(tmp_path)
    table = tmp_path / "VolumeTracings.csv"
    name = "0X0000000000000003.avi"
    rows = [row.split(",") for row in table.read_text().splitlines()]
    frames = sorted({int(row[-1]) for row in rows if row[0] == name})
    for row in rows:
        if row[0] == name and row[-1] == str(frames[-1]):
            row[-1] = "99"
    table.write_text("\n".join(",".join(row) for row in rows) + "\n")
    reference = read_dataset_reference("echonet_dynamic", tmp_path)
    (clip,) = reference.studies[0].clips
    assert set(clip.read_labels()) == {frames[0]} == set(clip.outlined_frames)
    assert "1 outlines lie beyond the last frame" in reference.notes
    assert np.unique(clip.read_labels()[frames[0]]).tolist() == [0, 1]


def test_studies_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    clips = write_tiny_clip_folder(tmp_path)
    columns = ["file", "patient", "study", "view"]
    names = [("1", "12"), ("12", ""), ("3", "")]
    rows = [
        dict(zip(columns, (file, patient, study, "A4C"), strict=True))
        for file, (patient, study) in zip(clips, names, strict=True)
    ]
    write_table(tmp_path / "clips.csv", columns, rows)
    with pytest.raises(ReferenceSetError, match="12: several studies"):
        read_dataset_reference("folder", tmp_path)


def test_splits_that_are_scored_together_are_named(tmp_path: Path) -> None:
    write_tiny_clip_folder(tmp_path)
    (note,) = read_dataset_reference("folder", tmp_path).notes
    assert note.startswith("clips of the splits test, train, val are scored together")
    assert read_dataset_reference("folder", tmp_path, "test").notes == ()


def test_corrections_of_patients_held_back_are_a_reference(tmp_path: Path) -> None:
    clips = write_tiny_corrections(tmp_path)
    reference = read_dataset_reference("corrections", tmp_path)
    (study,) = reference.studies
    (clip,) = study.clips
    assert (reference.split, clip.view) == ("val", View.A4C)
    assert clip.structures == (Structure.LV_CAVITY, Structure.LEFT_ATRIUM)
    truth = np.asarray(clips[f"{3:016x}"].labels[2])
    assert np.array_equal(clip.read_labels()[2] == Structure.LV_CAVITY, truth == Structure.LV_CAVITY)
