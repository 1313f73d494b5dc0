"""A prepared set travels without its data set, says what it is, and is read by pretraining and by joint recipes."""

from pathlib import Path

import pytest
from drawn_clips import draw_store

from echoapex.data.datasets.records import DatasetError
from echoapex.data.stores.frame_reader import FrameReaderError, open_frame_store
from echoapex.data.stores.prepared_set import (
    ORIGIN_FILE,
    PreparedOrigin,
    is_prepared_set,
    open_prepared_set,
    read_origin,
    write_origin,
)
from echoapex.models.bundle import Origin
from echoapex.recipes.clips import after_prepared_sets
from echoapex.recipes.recipe import Provenance

CAMUS = PreparedOrigin(training_data=("CAMUS, 3 patients",), licence="CC-BY-NC-SA-4.0", non_commercial=True)


def prepared_set(folder: Path, origin: PreparedOrigin = CAMUS) -> Path:
    draw_store(folder / "train", clips=3)
    write_origin(folder, origin)
    return folder


def test_it_is_opened_with_and_without_clips_that_judge(tmp_path: Path) -> None:
    folder = prepared_set(tmp_path / "set")
    assert is_prepared_set(folder)
    assert not is_prepared_set(tmp_path)
    teaching, judging = open_prepared_set(folder)
    assert (len(teaching), judging) == (3, None)
    draw_store(folder / "val", clips=6)
    assert len(open_prepared_set(folder)[1] or ()) == 6
    assert read_origin(folder) == CAMUS


def test_pretraining_reads_the_frames_that_teach(tmp_path: Path) -> None:
    folder = prepared_set(tmp_path / "set")
    draw_store(folder / "val", clips=6)
    reader, teaching = open_frame_store(str(folder)), open_prepared_set(folder)[0]
    assert len(reader) == sum(len(teaching.frames(clip)) for clip in range(3))
    with pytest.raises(FrameReaderError, match=r"has no curation; take it out of task\.curation"):
        open_frame_store(str(folder), tmp_path)


def test_what_it_says_of_its_clips_follows_into_the_provenance(tmp_path: Path) -> None:
    told, silent = prepared_set(tmp_path / "a"), prepared_set(tmp_path / "b", PreparedOrigin())
    provenance = Provenance(name="any", training_data=("phantom",))
    assert after_prepared_sets(provenance, [silent, tmp_path / "no-set"]) == provenance
    found = after_prepared_sets(provenance, [told, silent]).origin
    assert found == Origin(
        training_data=("phantom", "CAMUS, 3 patients"), licence="Apache-2.0; CC-BY-NC-SA-4.0", non_commercial=True
    )


def test_what_is_no_prepared_set_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is no prepared set, since it has no origin\.json; check the path"):
        open_prepared_set(tmp_path)
    write_origin(tmp_path, CAMUS)
    with pytest.raises(DatasetError, match=r"its clips cannot be read .*; pack the set again"):
        open_prepared_set(tmp_path)
    with pytest.raises(FrameReaderError, match="pack the set again"):
        open_frame_store(str(tmp_path))
    (tmp_path / ORIGIN_FILE).write_text('{"licenc": "MIT"}')
    with pytest.raises(DatasetError, match="did you mean 'licence'"):
        read_origin(tmp_path)
