"""Reading results back: matched by digest, damage named, no study-level value given to the wrong patient."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from written_results import write_results

from echoapex.evaluate.reference import PredictionError, ReferenceSet, match_studies, read_predictions
from echoapex.vocabulary import Quantity


def test_results_are_found_and_matched_by_digest(tmp_path: Path, reference: ReferenceSet) -> None:
    for name, study in zip("dcba", reference.studies, strict=True):
        write_results(tmp_path / name, study)
    matched = match_studies(reference.studies, read_predictions(tmp_path))
    assert [[results.folder.name for results in study.results] for study in matched] == [["d"], ["c"], ["b"], ["a"]]
    found = matched[0].find_clip(reference.studies[0].clips[0].sha256)
    assert found is not None
    results, clip = found
    masks = results.read_masks(clip)
    assert sorted(masks) == [2, 8]
    assert masks[2].shape == (64, 64)


def test_one_results_folder_may_be_given_itself(tmp_path: Path, reference: ReferenceSet) -> None:
    (prediction,) = read_predictions(write_results(tmp_path / "one", reference.studies[0]))
    assert len(prediction.clips) == 2


def test_a_study_without_results_is_kept(tmp_path: Path, reference: ReferenceSet) -> None:
    write_results(tmp_path / "a", reference.studies[1])
    matched = match_studies(reference.studies, read_predictions(tmp_path))
    assert [len(study.results) for study in matched] == [0, 1, 0, 0]


def test_a_study_may_be_analysed_in_parts_unless_both_give_a_value(tmp_path: Path, reference: ReferenceSet) -> None:
    study = reference.studies[0]
    first, second = (replace(study, clips=(clip,)) for clip in study.clips)
    write_results(tmp_path / "in" / "a", first, values={Quantity.LVEF: 50.0, Quantity.EDV: 100.0})
    write_results(tmp_path / "in" / "b", second, values={Quantity.LVEF: 40.0})
    matched = match_studies(reference.studies, read_predictions(tmp_path))[0]
    assert len(matched.results) == 2
    assert matched.find_value(Quantity.EDV) == 100
    assert matched.find_value(Quantity.ESV) is None
    with pytest.raises(PredictionError, match="together"):
        matched.find_value(Quantity.LVEF)


def test_an_empty_folder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="echoapex analyze"):
        read_predictions(tmp_path)


def test_foreign_results_are_refused(tmp_path: Path, reference: ReferenceSet) -> None:
    write_results(tmp_path / "a", reference.studies[0])
    with pytest.raises(PredictionError, match="no result belongs"):
        match_studies(reference.studies[1:], read_predictions(tmp_path))


def test_two_patients_in_one_folder_are_refused(tmp_path: Path, reference: ReferenceSet) -> None:
    first, second = (write_results(tmp_path / name, reference.studies[n]) for n, name in enumerate("ab"))
    merged = json.loads((first / "results.json").read_text())
    merged["clips"] += json.loads((second / "results.json").read_text())["clips"]
    (first / "results.json").write_text(json.dumps(merged))
    with pytest.raises(PredictionError, match="keep one"):
        match_studies(reference.studies, read_predictions(tmp_path))
    with pytest.raises(PredictionError, match="mixes patient-0 and patient-1"):
        match_studies(reference.studies, read_predictions(first))


@pytest.mark.parametrize(("text", "message"), [("{", "not a valid result"), ('{"clips": 3}', "not a valid result")])
def test_damaged_results_are_named(tmp_path: Path, reference: ReferenceSet, text: str, message: str) -> None:
    folder = write_results(tmp_path / "a", reference.studies[0])
    (folder / "results.json").write_text(text)
    with pytest.raises(PredictionError, match=message):
        read_predictions(tmp_path)


def test_damaged_masks_are_named(tmp_path: Path, reference: ReferenceSet) -> None:
    (prediction,) = read_predictions(write_results(tmp_path / "a", reference.studies[0]))
    clip = prediction.report.clips[0]
    path = prediction.folder / "masks" / f"{clip.clip_id}.npz"
    np.savez(path, frames=np.arange(3), labels=np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(PredictionError, match="one frame index each"):
        prediction.read_masks(clip)
    path.write_bytes(b"PK")
    with pytest.raises(PredictionError, match="cannot be read"):
        prediction.read_masks(clip)
    path.unlink()
    assert prediction.read_masks(clip) == {}
