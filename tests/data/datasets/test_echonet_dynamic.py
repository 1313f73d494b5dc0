"""EchoNet-Dynamic on simulated hearts in its official layout: values against the phantom's truth, and every finding."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from avi_files import write_avi
from dataset_findings import checks, edit_table, inspected
from tiny_echonet_dynamic import SIDE, SPLITS, write_tiny_echonet_dynamic

from echoapex.data.datasets import DatasetError, Severity, echonet_dynamic
from echoapex.data.datasets.echonet_dynamic import EchoNetDynamic, inspect_echonet_dynamic
from echoapex.io.video import open_video
from echoapex.metrics import dice
from echoapex.phantom import PhantomClip
from echoapex.vocabulary import Quantity, Structure, View


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, PhantomClip]]:
    root = tmp_path_factory.mktemp("dynamic") / "EchoNet-Dynamic"
    return root, write_tiny_echonet_dynamic(root)


@pytest.fixture
def copy(written: tuple[Path, dict[str, PhantomClip]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to damage; its own counts are the published ones."""
    monkeypatch.setattr(echonet_dynamic, "PUBLISHED_VIDEOS", len(SPLITS))
    monkeypatch.setattr(echonet_dynamic, "PUBLISHED_SPLITS", {"TRAIN": 2, "VAL": 1, "TEST": 1})
    return Path(shutil.copytree(written[0], tmp_path / "copy"))


def test_values_are_those_of_the_simulated_hearts(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    root, clips = written
    records = list(EchoNetDynamic(root).records())
    assert [record.name for record in records] == list(clips)
    for record, split in zip(records, SPLITS, strict=True):
        clip = clips[record.name]
        assert (record.view, record.split, record.size) == (View.A4C, split, (SIDE, SIDE))
        assert record.value(Quantity.LVEF) == pytest.approx(clip.ejection_fraction_percent, abs=1e-5)
        assert record.value(Quantity.EDV) == pytest.approx(clip.edv_ml, abs=1e-5)
        assert record.value(Quantity.ESV) == pytest.approx(clip.esv_ml, abs=1e-5)
        assert {one.quantity.unit for one in record.references} == {"%", "mL"}
        assert record.spacing is None
        assert "resized" in record.spacing_reason
        assert record.patient == record.name.removesuffix(".avi")
        header = open_video(record.path).header
        assert (header.size, header.frame_count) == (record.size, len(clip.frames))


def test_the_polygon_of_the_chords_is_the_ventricle(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    root, clips = written
    for record in EchoNetDynamic(root).records():
        clip, labels = clips[record.name], record.read_labels()
        assert set(labels) == {clip.ed_frame, clip.es_frame}
        phases = {outline.phase: outline.frame for outline in record.outlines}
        assert phases == {"ED": clip.ed_frame, "ES": clip.es_frame}
        for outline in record.outlines:
            true_mask = clip.labels[outline.frame] == int(Structure.LV_CAVITY)
            assert dice(true_mask, labels[outline.frame] == int(Structure.LV_CAVITY)) > 0.94
            assert outline.area_px == pytest.approx(outline.mask((SIDE, SIDE)).sum(), rel=0.03)


def test_the_first_row_of_a_frame_is_the_long_axis(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    root, clips = written
    name, clip = next(iter(clips.items()))
    tracing = next(one for one in EchoNetDynamic(root).tracings(name) if one.frame == clip.ed_frame)
    rows = np.nonzero(clip.labels[clip.ed_frame] == int(Structure.LV_CAVITY))[0]
    length_px = float(np.hypot(*(tracing.long_axis_xy[1] - tracing.long_axis_xy[0])))
    assert length_px == pytest.approx(rows.max() - rows.min() + 1, rel=0.2)
    assert len(tracing.chords_xy) == 20


def test_a_split_is_read_alone_and_an_unknown_one_refused(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    dataset = EchoNetDynamic(written[0])
    assert [record.split for record in dataset.records("VAL")] == ["VAL"]
    with pytest.raises(DatasetError, match=r"split 'val' is none of TRAIN, VAL, TEST, all"):
        list(dataset.records("val"))


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no FileList\.csv"):
        EchoNetDynamic(tmp_path)


def test_a_sound_copy_has_notes_only(copy: Path) -> None:
    inspection = inspected(inspect_echonet_dynamic, copy)
    assert inspection.is_sound, inspection.findings
    assert (inspection.usable, inspection.counted["videos"]) == (4, 4)
    assert {finding.check for finding in inspection.findings} == {"spacing"}


def test_the_published_counts_are_checked(written: tuple[Path, dict[str, PhantomClip]]) -> None:
    assert checks(inspect_echonet_dynamic, written[0]) == {"count of videos", "count of a split"}


def row_changed(column: str, value: str) -> object:
    def change(rows: list[dict[str, str]]) -> None:
        rows[0][column] = value

    return change


@pytest.mark.parametrize(
    ("table", "column", "value", "found"),
    [
        ("FileList.csv", "Split", "DEV", {"split name", "count of a split"}),
        ("FileList.csv", "Split", "VAL", {"count of a split"}),
        ("FileList.csv", "EF", "", {"ejection fraction"}),
        ("FileList.csv", "EF", "141", {"ejection fraction"}),
        ("FileList.csv", "EF", "99", {"ejection fraction against volumes"}),
        ("FileList.csv", "FrameHeight", "120", {"frame size"}),
        ("FileList.csv", "NumberOfFrames", "11", {"frame count"}),
        ("FileList.csv", "NumberOfFrames", "1", {"frame count", "traced frame"}),
        ("VolumeTracings.csv", "FileName", "0XF.avi", {"tracing of an unlisted video"}),
        ("VolumeTracings.csv", "X1", "?", {"tracings"}),
    ],
)
def test_a_wrong_cell_is_found(copy: Path, table: str, column: str, value: str, found: set[str]) -> None:
    edit_table(copy / table, row_changed(column, value))
    assert checks(inspect_echonet_dynamic, copy) == found


def test_a_tracing_outside_the_frame_is_found(copy: Path) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        rows[5]["X2"] = "400"

    edit_table(copy / "VolumeTracings.csv", change)
    assert checks(inspect_echonet_dynamic, copy) == {"tracing"}


def test_a_tracing_of_too_few_chords_is_found(copy: Path) -> None:
    edit_table(copy / "VolumeTracings.csv", lambda rows: rows.__delitem__(slice(3, 21)))
    assert "tracing" in checks(inspect_echonet_dynamic, copy)


def test_videos_without_tracings_are_counted(copy: Path) -> None:
    edit_table(copy / "VolumeTracings.csv", lambda rows: rows.__delitem__(slice(0, 42)))
    assert checks(inspect_echonet_dynamic, copy) == {"untraced videos"}
    record = next(EchoNetDynamic(copy).records())
    assert record.read_labels() == {}


def test_files_are_found_missing_forgotten_and_damaged(copy: Path) -> None:
    videos = sorted((copy / "Videos").glob("*.avi"))
    videos[0].unlink()
    videos[1].write_bytes(b"RIFF")
    videos[2].write_bytes(videos[2].read_bytes()[: videos[2].stat().st_size // 2])
    write_avi(copy / "Videos" / "0XEXTRA.avi", np.zeros((2, SIDE, SIDE), np.uint8))
    inspection = inspected(inspect_echonet_dynamic, copy)
    errors = {finding.check: finding for finding in inspection.findings if finding.severity is Severity.ERROR}
    assert errors["missing file"].file == f"Videos/{videos[0].name}"
    assert errors["unreadable file"].file == f"Videos/{videos[1].name}"
    assert errors["truncated file"].file == f"Videos/{videos[2].name}"
    assert "unlisted file" in {finding.check for finding in inspection.findings}
    assert inspection.usable == 3


def test_a_missing_or_foreign_table_is_named(copy: Path) -> None:
    (copy / "VolumeTracings.csv").unlink()
    assert checks(inspect_echonet_dynamic, copy) == {"tracings"}
    (copy / "FileList.csv").write_text("FileName,EF\n0X1,50\n")
    with pytest.raises(DatasetError, match=r"FileList\.csv: lacks the column ESV, EDV"):
        inspected(inspect_echonet_dynamic, copy)


def test_the_doubted_video_is_a_note(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echonet_dynamic, "DOUBTED", frozenset({"0X0000000000000000.avi"}))
    inspection = inspected(inspect_echonet_dynamic, copy)
    assert inspection.is_sound
    assert "known case" in {finding.check for finding in inspection.findings}
