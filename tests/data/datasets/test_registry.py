"""What must hold for every data set of the registry, on tiny ones in each official layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_camus_folder import write_tiny_camus_folder
from tiny_clip_folder import write_tiny_clip_folder
from tiny_corrections import write_tiny_corrections
from tiny_echonet_dynamic import write_tiny_echonet_dynamic
from tiny_echonet_lvh import write_tiny_echonet_lvh
from tiny_echonet_pediatric import write_tiny_echonet_pediatric
from tiny_hmc_qu import write_tiny_hmc_qu
from tiny_mimic_iv_echo import write_tiny_mimic_iv_echo
from tiny_tmed2 import write_tiny_tmed2
from tiny_unity import write_tiny_unity

from echoapex.data.datasets import DATASETS, DatasetClip, DatasetError, Inspection
from echoapex.data.datasets.records import Outline, read_frame_size, require_split
from echoapex.vocabulary import SUBTASKS, Application, Structure

WRITERS: dict[str, Callable[[Path], object]] = {
    "camus": write_tiny_camus_folder,
    "echonet_dynamic": write_tiny_echonet_dynamic,
    "echonet_pediatric": write_tiny_echonet_pediatric,
    "echonet_lvh": write_tiny_echonet_lvh,
    "tmed2": write_tiny_tmed2,
    "mimic_iv_echo": write_tiny_mimic_iv_echo,
    "unity": write_tiny_unity,
    "hmc_qu": write_tiny_hmc_qu,
    "folder": write_tiny_clip_folder,
    "corrections": write_tiny_corrections,
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("every")
    for name, write in WRITERS.items():
        write(base / name)
    return {name: base / name for name in WRITERS}


def test_every_data_set_is_covered() -> None:
    assert set(WRITERS) == set(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_splits_are_official_and_no_patient_is_in_two(roots: dict[str, Path], name: str) -> None:
    dataset = DATASETS[name].open(roots[name])
    splits: dict[str, set[str | None]] = {}
    for record in dataset.records():
        assert record.split in (*dataset.split_names, *(() if dataset.split_names else (None,)))
        if record.patient is not None:
            splits.setdefault(record.patient, set()).add(record.split)
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize("name", DATASETS)
def test_the_splits_together_are_the_whole(roots: dict[str, Path], name: str) -> None:
    dataset = DATASETS[name].open(roots[name])
    names = [record.name for record in dataset.records()]
    assert len(names) == len(set(names)) > 0
    if dataset.split_names:
        parts = []
        for split in dataset.split_names:
            try:
                parts += [record.name for record in dataset.records(split)]
            except DatasetError as error:  # CAMUS says when nobody is in a split
                assert "no patient" in str(error)
        assert sorted(parts) == sorted(names)
    with pytest.raises(DatasetError, match="is none of"):
        list(dataset.records("no such split"))


@pytest.mark.parametrize("name", DATASETS)
def test_records_point_to_files_and_stay_inside_their_frames(roots: dict[str, Path], name: str) -> None:
    for record in DATASETS[name].open(roots[name]).records():
        assert record.path.is_file()
        assert (record.spacing is None) == bool(record.spacing_reason)
        for reference in record.references:
            low, high = reference.quantity.plausible_range
            assert low <= reference.value <= high
            assert reference.source
        height, width = size = read_frame_size(record.path)
        assert record.size in (None, size)
        for walls in record.walls:
            assert all(0 <= x < width and 0 <= y < height for x, y in walls.points_xy.values())
        for labels in record.read_labels().values():
            assert labels.shape == size
            assert set(np.unique(labels)) <= {0, *map(int, Structure)}


@pytest.mark.parametrize("name", DATASETS)
def test_what_is_published_serves_the_tasks_that_it_names(roots: dict[str, Path], name: str) -> None:
    description = DATASETS[name]
    assert description.tasks
    assert set(description.tasks) <= set(SUBTASKS)
    for text in (description.title, description.licence, description.access, description.citation, *description.files):
        assert text
    applications = {task.application for task in description.tasks}
    records = list(description.open(roots[name]).records())
    quantities = {one.quantity for record in records for one in record.references}
    if Application.EJECTION_FRACTION in applications:
        assert "lvef" in quantities
    if Application.VIEW_CLASSIFICATION in applications:
        assert any(record.view is not None for record in records)


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_folder_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=r"hold"):
        DATASETS[name].open(tmp_path)
    with pytest.raises(DatasetError, match=r"hold"):
        DATASETS[name].inspect(Inspection(tmp_path))


def test_labels_of_a_clip_that_is_not_there_are_an_error_by_name(tmp_path: Path) -> None:
    outline = Outline(0, Structure.LV_CAVITY, np.array([[1.0, 1], [5, 1], [5, 5]]))
    record = DatasetClip("clip", tmp_path / "clip.avi", spacing_reason="none", outlines=(outline,))
    with pytest.raises(DatasetError, match=r"clip\.avi|does not exist"):
        record.read_labels()


def test_a_record_without_spacing_says_why() -> None:
    with pytest.raises(DatasetError, match="must say why"):
        DatasetClip("clip", Path("clip.avi"))
    with pytest.raises(DatasetError, match="none of train, all"):
        require_split("val", ("train",))
