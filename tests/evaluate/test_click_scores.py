"""Cases to scores: means, the cap, intervals over patients, and the file."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from click_oracles import RightAfter, click_image

from echoapex.evaluate.click_scores import (
    ClicksFile,
    FollowedClip,
    score_following,
    score_prompts,
    score_structures,
    write_click_cases,
)
from echoapex.evaluate.clicks import ClickCase, ClickProtocol, ask_about
from echoapex.vocabulary import Structure, View

PROTOCOL = ClickProtocol(clicks=5)


def cases() -> list[ClickCase]:
    """Two patients: one needs two clicks, the other more than the cap."""
    quick = ask_about(RightAfter(2), click_image("a.dcm", "patient-1"), PROTOCOL)
    return [*quick, *ask_about(RightAfter(9), click_image("b.dcm", "patient-2"), PROTOCOL)]


def test_noc_counts_the_cap_where_the_target_is_never_reached() -> None:
    scores = score_prompts(cases(), PROTOCOL).from_nothing
    assert scores.noc.value == (2 + 5) / 2
    assert scores.never.value == 0.5
    assert scores.noc.n == 6
    assert scores.noc.interval == (2, 5), "two patients, so that resampling draws either alone"
    assert scores.curve[0] == 0
    assert scores.dice[2].value == pytest.approx(scores.curve[2], abs=1e-6)
    assert set(scores.dice) == {1, 2, 3, 5}
    assert scores.worsened.value == 0


def test_structures_are_scored_apart() -> None:
    found = score_structures(cases(), PROTOCOL)
    assert set(found) == {"lv_cavity", "lv_myocardium", "left_atrium"}
    assert found["left_atrium"].box.n == 2


def test_a_model_without_names_leaves_names_empty() -> None:
    model = RightAfter(2, understands_names=False)
    scores = score_prompts(list(ask_about(model, click_image(), PROTOCOL)), PROTOCOL)
    assert scores.name.value is None
    assert scores.from_name.curve == ()
    assert scores.box.n == 3


def test_the_file_comes_back_as_it_was(tmp_path: Path) -> None:
    found = cases()
    scores = ClicksFile(
        echoapex_version="0",
        dataset="phantom",
        split="",
        model="oracle",
        protocol=PROTOCOL,
        patients=2,
        images=2,
        overall=score_prompts(found, PROTOCOL),
        structures=score_structures(found, PROTOCOL),
    )
    assert ClicksFile.model_validate_json(scores.model_dump_json()) == scores
    assert scores.of(Structure.RIGHT_ATRIUM).box.n == 0
    write_click_cases(tmp_path / "cases.csv", found)
    with (tmp_path / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert float(rows[0]["from_nothing_2"]) == 1


def test_followed_clips_are_averaged() -> None:
    def followed(patient: str, overlap: float, jitter: float) -> FollowedClip:
        rest = (0.97, overlap, 0.8, jitter, 0.04, 0.01)
        return FollowedClip(patient, "a.dcm", View.A4C, Structure.LV_CAVITY, 0, 9, *rest)

    scores = score_following([followed("a", 0.9, 0.02), followed("b", 0.8, 0.03)], 5)
    assert scores is not None
    assert scores.dice.value == pytest.approx(0.85)
    assert scores.jitter.value == pytest.approx(0.025)
    lost = score_following([followed("a", 0.0, float("inf"))], 5)
    assert lost is not None
    assert lost.jitter.value is None
    assert score_following([], 5) is None
