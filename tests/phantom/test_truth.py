"""Truth files: they come back as written, and damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoapex.domain import WallPoint
from echoapex.phantom.truth import (
    ClipTruth,
    ClipWalls,
    PatientTruth,
    StudyTruth,
    TruthError,
    read_label_maps,
    read_truth,
    write_label_maps,
    write_truth,
)
from echoapex.vocabulary import Quantity, View


def make_truth() -> StudyTruth:
    walls = ClipWalls(
        frame=1,
        points_xy={point: (1.5, float(n)) for n, point in enumerate(WallPoint)},
        ivsd_mm=9,
        lvidd_mm=48,
        lvpwd_mm=8.5,
    )
    clip = ClipTruth(
        file="PLAX.dcm",
        sha256="0" * 64,
        view=View.PLAX,
        seed=3,
        size=(96, 96),
        frame_times_s=(0.0, 0.1 + 0.2),
        r_wave_times_s=(0.05,),
        volumes_ml=(60.0, 110.0),
        ed_frame=1,
        es_frame=0,
        row_mm=0.7,
        column_mm=0.7,
        sector_box_xyxy=(0, 0, 96, 96),
        sector_polygon_xy=((1, 1), (90, 1), (40, 90)),
        label_file="truth/PLAX.npz",
        label_frames=(0, 1),
        walls=walls,
    )
    patient = PatientTruth(
        sex="F",
        age_years=60,
        height_m=1.6,
        weight_kg=60,
        bsa_m2=1.63,
        heart_rate_bpm=70,
        parameters={"sex": "F", "x": 1.5},
    )
    return StudyTruth(
        simulator_version="1",
        seed=3,
        held_out=False,
        image_size=(96, 96),
        transfer_syntax="jpeg",
        patient=patient,
        ejection_fraction_percent=45.5,
        edv_ml=110,
        esv_ml=60,
        clips=(clip,),
    )


def test_truth_comes_back_as_written(tmp_path: Path) -> None:
    truth = make_truth()
    write_truth(tmp_path, truth)
    assert read_truth(tmp_path) == truth
    plax = truth.find(View.PLAX)
    assert plax is not None
    assert plax.walls is not None
    assert plax.walls.value_mm(Quantity.LVIDD) == 48
    assert truth.find(View.A4C) is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:40], "the file"),
        (lambda text: text.replace('"1.0"', '"9.0"', 1), "truth_version"),
        (lambda text: text.replace('"PLAX"', '"NOWHERE"', 1), "clips.0.view"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, message: str) -> None:
    path = write_truth(tmp_path, make_truth())
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    with pytest.raises(TruthError, match=message):
        read_truth(tmp_path)


def test_a_missing_truth_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(TruthError, match="echoapex phantom"):
        read_truth(tmp_path)


def test_label_maps_come_back_in_order_and_with_equal_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = {frame: rng.integers(0, 7, (20, 30)).astype(np.uint8) for frame in (9, 2)}
    first = write_label_maps(tmp_path / "a.npz", labels, (20, 30))
    second = write_label_maps(tmp_path / "b.npz", dict(reversed(labels.items())), (20, 30))
    assert first.read_bytes() == second.read_bytes()
    read = read_label_maps(first)
    assert list(read) == [2, 9]
    assert all((read[frame] == labels[frame]).all() for frame in labels)


def test_damaged_label_maps_are_refused(tmp_path: Path) -> None:
    path = write_label_maps(tmp_path / "a.npz", {}, (20, 30))
    assert read_label_maps(path) == {}
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(TruthError, match="cannot be read"):
        read_label_maps(path)
