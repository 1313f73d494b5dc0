from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from echoapex.data.datasets import Inspection, Severity
from echoapex.data.datasets.inspection import MOST_EXAMPLES, SAMPLE
from echoapex.data.datasets.records import SplitTally


def test_findings_are_bounded_ordered_and_counted(tmp_path: Path) -> None:
    inspection = Inspection(tmp_path)
    inspection.note("spacing", ".", "none", "nothing")
    for number in range(MOST_EXAMPLES + 25):
        inspection.warn("unlisted file", tmp_path / "Videos" / f"{number}.avi", "unknown", "remove it")
    inspection.error("missing file", "a.avi", "not there", "download it")
    findings = inspection.findings
    assert [finding.severity for finding in findings] == sorted(
        (finding.severity for finding in findings), key=list(Severity).index
    )
    warnings = [finding for finding in findings if finding.severity is Severity.WARNING]
    assert len(warnings) == MOST_EXAMPLES
    assert [finding.more for finding in warnings] == [0] * (MOST_EXAMPLES - 1) + [25]
    assert warnings[0].file == "Videos/0.avi"
    assert not inspection.is_sound


def test_notes_alone_are_sound(tmp_path: Path) -> None:
    inspection = Inspection(tmp_path)
    inspection.note("spacing", ".", "none", "nothing")
    assert inspection.is_sound


@given(count=st.integers(0, 500), every_file=st.booleans())
def test_a_sample_is_spread_and_all_means_all(count: int, every_file: bool) -> None:
    heard: list[tuple[int, int]] = []
    inspection = Inspection(Path(), every_file=every_file, on_file=lambda done, total: heard.append((done, total)))
    chosen = list(inspection.chosen(range(count)))
    expected = count if every_file else min(SAMPLE, count)
    assert len(chosen) == len(set(chosen)) == expected
    assert chosen == sorted(chosen)
    assert heard == [(done, expected) for done in range(expected)]
    if count:
        assert chosen[0] == 0
        assert count - chosen[-1] <= max(1, -(-count // max(1, expected)))


def test_a_round_count_may_differ_a_little(tmp_path: Path) -> None:
    inspection = Inspection(tmp_path)
    inspection.counted["videos"] = 11_950
    inspection.compare_count("videos", 12_000, "page", is_round=True)
    assert inspection.findings == ()
    inspection.compare_count("videos", 12_000, "page")
    assert "11950 videos, published are 12000 (page)" in inspection.findings[0].problem


def test_a_patient_is_watched_across_clips_without_split(tmp_path: Path) -> None:
    inspection = Inspection(tmp_path)
    tally = SplitTally(inspection, tmp_path / "list.csv", ())
    for clip, split in (("a", None), ("b", "train"), ("c", None), ("d", "train")):
        tally.add(clip, "P1", split)
    assert inspection.findings == ()
    tally.add("e", "P1", "val")
    assert [finding.check for finding in inspection.findings] == ["patient in two splits"]
    assert (tally.groups, tally.counts) == (1, {"train": 2, "val": 1})
