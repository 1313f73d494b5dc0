"""EchoNet-LVH on simulated hearts in its official layout: walls and spacing against the truth, and every finding."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dataset_findings import checks, edit_table, inspected
from hypothesis import given
from hypothesis import strategies as st
from tiny_echonet_lvh import SIDE, SPLITS, write_tiny_echonet_lvh

from echoapex.data.datasets import DatasetError, echonet_lvh
from echoapex.data.datasets.echonet_lvh import EchoNetLvh, WallLine, inspect_echonet_lvh, recover_spacing
from echoapex.phantom import PhantomClip
from echoapex.vocabulary import Quantity, View


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, PhantomClip]]:
    root = tmp_path_factory.mktemp("lvh")
    return root, write_tiny_echonet_lvh(root)


@pytest.fixture
def copy(written: tuple[Path, dict[str, PhantomClip]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(echonet_lvh, "PUBLISHED_VIDEOS", len(SPLITS))
    return Path(shutil.copytree(written[0], tmp_path / "copy"))


def test_walls_and_spacing_are_those_of_the_simulated_hearts(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    root, clips = written
    records = list(EchoNetLvh(root).records())
    assert [(record.name, record.split) for record in records] == list(zip(clips, SPLITS, strict=True))
    for record in records:
        clip = clips[record.name]
        assert clip.walls is not None
        assert (record.view, record.size, record.patient) == (View.PLAX, (SIDE, SIDE), None)
        for quantity, length_mm in (
            (Quantity.IVSD, clip.walls.ivsd_mm),
            (Quantity.LVIDD, clip.walls.lvidd_mm),
            (Quantity.LVPWD, clip.walls.lvpwd_mm),
        ):
            assert record.value(quantity) == pytest.approx(length_mm, abs=1e-3)
        assert record.spacing is not None
        # ends are whole pixels: half a pixel at each end of about 120
        assert record.spacing.row_mm == pytest.approx(clip.spacing.row_mm, rel=0.02)
        (tracing,) = record.walls
        assert tracing.frame == clip.ed_frame
        for place, point in tracing.points_xy.items():
            assert point == pytest.approx(clip.walls.points_xy[place], abs=0.5)


@given(
    mm_per_px=st.floats(0.1, 1.0),
    lengths_px=st.lists(st.floats(8, 200), min_size=2, max_size=5),
    errors_px=st.lists(st.floats(-0.99, 0.99), min_size=5, max_size=5),
)
def test_spacing_is_recovered_through_rounded_ends(
    mm_per_px: float, lengths_px: list[float], errors_px: list[float]
) -> None:
    lines = [
        WallLine("LVIDd", mm_per_px * length, 0, (0.0, 0.0), (0.0, length + error))
        for length, error in zip(lengths_px, errors_px, strict=False)
    ]
    spacing, reason = recover_spacing(lines)
    assert (spacing is not None) == (reason == "")
    assert spacing is not None
    assert spacing.row_mm == pytest.approx(mm_per_px, rel=1 / (min(lengths_px) - 1))


def test_spacing_is_refused_with_its_reason() -> None:
    def line(value_mm: float, length_px: float) -> WallLine:
        return WallLine("LVIDd", value_mm, 0, (3.0, 4.0), (3.0, 4.0 + length_px))

    assert recover_spacing([line(50, 100)]) == (
        None,
        "fewer than two measured lines, so that nothing confirms a spacing",
    )
    assert recover_spacing([line(50, 100), line(9, 2)])[0] is None, "too short to tell anything"
    assert "disagree: 0.500 to 0.600" in recover_spacing([line(50, 100), line(60, 100)])[1]
    assert "which no echo image has" in recover_spacing([line(500, 100), line(250, 50)])[1]


def test_a_sound_copy_has_nothing_to_say(copy: Path) -> None:
    inspection = inspected(inspect_echonet_lvh, copy)
    assert inspection.findings == ()
    assert (inspection.usable, inspection.counted) == (4, {"videos": 4, "videos with spacing": 4})


def test_the_published_count_is_checked(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    assert checks(inspect_echonet_lvh, written[0]) == {"count of videos"}


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("split", "dev", {"split name", "video in two splits"}),
        ("split", "val", {"video in two splits"}),
        ("CalcValue", "7.5", {"spacing"}),
        ("CalcValue", "", {"measured line"}),
        ("X1", str(SIDE + 40), {"measured line outside", "spacing"}),
        ("Frame", "3", {"measured frame"}),
        ("Frame", "", {"measured line"}),
    ],
)
def test_a_wrong_cell_is_found(copy: Path, column: str, value: str, found: set[str]) -> None:
    edit_table(copy / "MeasurementsList.csv", lambda rows: rows[0].__setitem__(column, value))
    assert checks(inspect_echonet_lvh, copy) == found


def test_a_disagreeing_clip_loses_its_spacing_but_keeps_its_lengths(copy: Path) -> None:
    edit_table(copy / "MeasurementsList.csv", lambda rows: rows[0].__setitem__("CalcValue", "7.5"))
    record = next(EchoNetLvh(copy).records())
    assert record.spacing is None
    assert "disagree" in record.spacing_reason
    assert record.value(Quantity.LVPWD) == 75.0


def test_a_clip_with_one_line_has_no_spacing_and_a_note(copy: Path) -> None:
    edit_table(copy / "MeasurementsList.csv", lambda rows: rows.__delitem__(slice(0, 2)))
    inspection = inspected(inspect_echonet_lvh, copy)
    assert inspection.is_sound
    assert [finding.check for finding in inspection.findings] == ["spacing refused"]
    record = next(EchoNetLvh(copy).records())
    assert (record.spacing, record.walls) == (None, ())


def test_walls_that_do_not_meet_are_found(copy: Path) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        for column in ("X1", "X2"):  # the posterior wall, moved aside
            rows[0][column] = str(int(rows[0][column]) + 30)

    edit_table(copy / "MeasurementsList.csv", change)
    assert checks(inspect_echonet_lvh, copy) == {"walls do not meet"}


def test_lost_batches_sizes_and_damage_are_found(copy: Path) -> None:
    shutil.rmtree(copy / "Batch2")
    edit_table(copy / "MeasurementsList.csv", lambda rows: [row.update(Width="600") for row in rows[:3]] and None)
    next((copy / "Batch3").glob("*.avi")).write_bytes(b"")
    assert checks(inspect_echonet_lvh, copy) == {"missing folder", "missing file", "frame size", "unreadable file"}


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no MeasurementsList\.csv"):
        EchoNetLvh(tmp_path)
