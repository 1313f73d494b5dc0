"""The plan: one order, units of one folder, digests of paths, lists of files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from drawn_studies import draw_fan_clip, write_fan_clip, write_studies
from synthetic_files import write_zip

from echoapex.data.ingest.plan import (
    CLIPS_PER_UNIT,
    ArchiveKey,
    SourceFile,
    UnreadableFile,
    expand_lists,
    find_sources,
    plan_units,
)
from echoapex.data.stores.place import StoreError

KEY = ArchiveKey(bytes(range(32)))


def sources(*paths: Path) -> list[SourceFile]:
    found = list(find_sources(paths, KEY, "digest"))
    assert not [item for item in found if isinstance(item, UnreadableFile)]
    return [item for item in found if isinstance(item, SourceFile)]


def test_units_hold_files_of_one_folder_and_are_bounded(tmp_path: Path) -> None:
    write_studies(tmp_path, [1, 2], clips=2, frames=1)
    pixels = draw_fan_clip(5, frames=1)
    for number in range(CLIPS_PER_UNIT + 1):
        write_fan_clip(tmp_path / "s3" / f"c{number:02d}.dcm", pixels, 3, number + 1)
    units = list(plan_units(sources(tmp_path)))
    assert [len(unit.files) for unit in units] == [2, 2, CLIPS_PER_UNIT, 1]
    assert [unit.number for unit in units] == [0, 1, 2, 3]
    assert all(len({file.folder for file in unit.files}) == 1 for unit in units)


def test_digests_follow_path_and_stamp(tmp_path: Path) -> None:
    path = write_fan_clip(tmp_path / "a" / "c.dcm", draw_fan_clip(1, 1), 1)
    write_fan_clip(tmp_path / "b" / "c.dcm", draw_fan_clip(1, 1), 1)
    first, second = sources(tmp_path)
    assert first.file != second.file
    assert first.folder != second.folder
    assert first.name == f"file-{first.file[:12]}"
    assert sources(path)[0].file == first.file  # however it was reached
    os.utime(path, ns=(1, 1))
    (touched,) = sources(path)
    assert touched.file == first.file
    assert touched.stamp != first.stamp


def test_names_are_paths_where_asked_for(tmp_path: Path) -> None:
    write_fan_clip(tmp_path / "PHANTOM_0007" / "c.dcm", draw_fan_clip(1, 1), 7)
    (tmp_path / "PHANTOM_0007" / "bad.dcm").write_bytes(b"")
    names = [item.name for item in find_sources([tmp_path], KEY, "path")]
    assert sorted(names) == ["PHANTOM_0007/bad.dcm", "PHANTOM_0007/c.dcm"]


def test_packed_clips_can_travel_to_another_process(tmp_path: Path) -> None:
    clip = write_fan_clip(tmp_path / "c.dcm", draw_fan_clip(1, 1), 1).read_bytes()
    inner = write_zip(tmp_path / "inner.zip", {"d/c.dcm": clip}).read_bytes()
    outer = write_zip(tmp_path / "outer.zip", {"inner.zip": inner, "e/f.dcm": clip})
    units = list(plan_units(sources(outer)))
    files = [file for unit in units for file in unit.files]
    assert len(files) == 2
    assert sum(len(unit.keeps) for unit in units) == 1
    assert pickle.loads(pickle.dumps([unit.for_worker() for unit in units]))
    again = sources(outer)
    assert [(file.file, file.stamp) for file in again] == [(file.file, file.stamp) for file in files]


def test_a_list_of_files_stands_for_its_lines(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# some\n\nsub/a.dcm\n/abs/b.dcm\n")
    assert expand_lists([f"@{tmp_path}/list.txt", "/c"]) == [tmp_path / "sub/a.dcm", Path("/abs/b.dcm"), Path("/c")]
    with pytest.raises(StoreError, match=r"none\.txt"):
        expand_lists([f"@{tmp_path}/none.txt"])
