"""One JSON line per entry; a crash costs at most the line that was being written."""

import json
from pathlib import Path

from echoapex.train.journal import BEFORE_FIRST_STEP, Journal, read_figures, read_journal


def steps_of(path: Path) -> list[int]:
    return [entry["step"] for entry in read_journal(path)]


def test_entries_come_back_in_order_with_their_values(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    journal.write(0, loss=1.5, terms={"mask": 0.5})
    journal.write(10, scores={"dice": 0.75})
    first, second = read_journal(tmp_path / "run" / "journal.jsonl")
    assert (first["step"], first["loss"], first["terms"]) == (0, 1.5, {"mask": 0.5})
    assert second["scores"] == {"dice": 0.75}
    assert first["time"] <= second["time"]


def test_a_resumed_run_drops_what_it_will_do_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in range(6):
        journal.write(step)
    resumed = Journal(tmp_path, resume_step=4)
    assert steps_of(resumed.path) == [0, 1, 2, 3]
    resumed.write(4)
    assert steps_of(resumed.path) == [0, 1, 2, 3, 4]


def test_a_fresh_run_starts_an_empty_journal(tmp_path: Path) -> None:
    Journal(tmp_path).write(3)
    assert steps_of(Journal(tmp_path).path) == []


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(0)
    with journal.path.open("a") as file:
        file.write('{"step": 1, "lo')
    assert steps_of(journal.path) == [0]
    resumed = Journal(tmp_path, resume_step=1)
    resumed.write(1)
    assert [json.loads(line)["step"] for line in resumed.path.read_text().splitlines()] == [0, 1]


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "journal.jsonl") == []


def test_the_figures_of_the_start_stay_through_a_resume_and_go_with_a_fresh_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(BEFORE_FIRST_STEP, start_scores={"dice": 0.25})
    journal.write(3, scores={"dice": 0.5})
    journal.write(7, scores={"dice": 0.75})
    assert read_figures(journal.path) == ({"dice": 0.25}, {"dice": 0.75})
    assert read_figures(Journal(tmp_path, resume_step=4).path) == ({"dice": 0.25}, {"dice": 0.5})
    assert journal.scores() == [{"dice": 0.5}], "the drift guard does not judge the start"
    assert read_figures(Journal(tmp_path).path) == ({}, {}), "a run without a checkpoint may have another start"
