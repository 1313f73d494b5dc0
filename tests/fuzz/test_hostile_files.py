"""Every hand-made hostile file is read or refused, within 20 s of processor time and 1 GB of memory."""

from pathlib import Path

import pytest
from hostile_files import hostile_names, make_hostile
from reading_cost import MOST_BYTES, MOST_SECONDS, Meter
from whole_reading import read_all, write_case


@pytest.mark.parametrize("name", hostile_names())
def test_a_hostile_file_is_read_or_refused_within_bounds(tmp_path: Path, name: str) -> None:
    folder = write_case(tmp_path / "case", make_hostile(name))
    read_all(write_case(tmp_path / "warm", {}))
    meter = Meter()

    frames, errors = read_all(folder)

    cost = meter.cost()
    assert frames or errors
    assert cost.seconds < MOST_SECONDS
    assert cost.peak_bytes < MOST_BYTES
    for error in errors:
        assert ";" in error  # the remedy
        assert str(tmp_path) not in error


def test_a_bad_entry_does_not_hide_the_others(tmp_path: Path) -> None:
    frames, errors = read_all(write_case(tmp_path / "case", make_hostile("DICOMDIR: a file ID of 300 letters")))

    assert frames == 1
    assert len(errors) == 1
