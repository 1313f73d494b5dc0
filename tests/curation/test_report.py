"""Tables add up, are sorted, and hide what has too many groups."""

from __future__ import annotations

import numpy as np
import pytest

from echoapex.curation.report import divide, divide_all
from echoapex.curation.sample import Naming

NAMING = Naming(np.array([1, 0, 1, 1]), ("rare", "common", "absent"))
BEFORE, AFTER = np.full(4, 0.25), np.array([0.125, 0.5, 0.25, 0.125])


def test_groups_are_sorted_by_what_there_is() -> None:
    division = divide("view", NAMING, BEFORE, AFTER, frames=80)
    assert [(group.name, group.frames, group.before, group.after) for group in division.groups] == [
        ("common", 60, 0.75, 0.5),
        ("rare", 20, 0.25, 0.5),
    ]
    assert division.effective_after == pytest.approx(2)
    assert division.effective_before < 2


def test_clips_and_patients_are_counted_but_not_listed() -> None:
    divisions = divide_all(dict.fromkeys(("view", "clip", "patient"), NAMING), BEFORE, AFTER, 80)
    assert [len(division.groups) for division in divisions] == [2, 0, 0]
    assert len({division.effective_before for division in divisions}) == 1
