"""Phantom studies as a reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoapex.evaluate.reference import ReferenceSetError
from echoapex.evaluate.truth import phantom_studies, read_phantom_reference
from echoapex.phantom.study import StudyPlan, write_study
from echoapex.phantom.truth import FIRST_HELD_OUT_SEED
from echoapex.vocabulary import VISIBLE_STRUCTURES, Quantity, View


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_study(folder / "a", 1, StudyPlan((View.PSAX_PM,), 96))
    write_study(folder / "b", FIRST_HELD_OUT_SEED, StudyPlan((View.PLAX,), 96))
    (folder / ".half").mkdir()
    (folder / ".half" / "truth.json").write_text("{}")
    return folder


def test_studies_become_a_reference(root: Path) -> None:
    reference = read_phantom_reference(root)
    first, second = reference.studies
    assert (first.patient, second.patient) == ("phantom-1", f"phantom-{FIRST_HELD_OUT_SEED}")
    assert Quantity.IVSD not in first.values
    assert {Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD, Quantity.LVEF, Quantity.EDV} <= set(second.values)
    (clip,) = second.clips
    assert clip.path.is_file()
    assert clip.structures == VISIBLE_STRUCTURES[View.PLAX]
    assert len(clip.read_labels()) == 2


def test_splits_follow_the_seeds(root: Path) -> None:
    assert [study.patient for study in read_phantom_reference(root, split="train").studies] == ["phantom-1"]
    (held_out,) = read_phantom_reference(root, split="held_out").studies
    assert held_out.patient == f"phantom-{FIRST_HELD_OUT_SEED}"
    with pytest.raises(ReferenceSetError, match="held_out"):
        read_phantom_reference(root, split="val")
    with pytest.raises(ReferenceSetError, match="no train study"):
        read_phantom_reference(root / "b", split="train")


def test_one_study_folder_and_an_empty_one(root: Path, tmp_path: Path) -> None:
    assert phantom_studies(root / "a") == [root / "a"]
    with pytest.raises(ReferenceSetError, match="echoapex phantom"):
        read_phantom_reference(tmp_path)
