"""From the cases of the click protocol to scores: means over cases, intervals that resample patients."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from echoapex.evaluate.clicks import ClickCase, ClickProtocol, ClickRun
from echoapex.evaluate.clicks_file import REPORTED_CLICKS, ClickCurve, FollowingScores, PromptScores
from echoapex.evaluate.clip_following import FollowedClip
from echoapex.evaluate.metrics_file import Score
from echoapex.evaluate.scores import score_mean
from echoapex.io.atomic_file import write_bytes_atomically
from echoapex.vocabulary import Structure


def score_prompts(cases: Sequence[ClickCase], protocol: ClickProtocol) -> PromptScores:
    """Scores of some cases together."""
    return PromptScores(
        name=_score(cases, lambda case: case.name),
        box=_score(cases, lambda case: case.box),
        box_and_name=_score(cases, lambda case: case.box_and_name),
        from_nothing=_score_runs([(case.patient, case.from_nothing) for case in cases], protocol),
        without_mask=_score_runs([(case.patient, case.without_mask) for case in cases], protocol),
        from_name=_score_runs([(case.patient, case.from_name) for case in cases if case.from_name], protocol),
    )


def score_structures(cases: Sequence[ClickCase], protocol: ClickProtocol) -> dict[str, PromptScores]:
    """Scores of each structure that occurs, by its key."""
    return {
        structure.key: score_prompts(chosen, protocol)
        for structure in Structure
        if (chosen := [case for case in cases if case.structure is structure])
    }


def score_following(clips: Sequence[FollowedClip], clicks: int) -> FollowingScores | None:
    """Scores of followed clips; None where there is none."""
    if not clips:
        return None
    patients = [clip.patient for clip in clips]
    return FollowingScores(
        clicks=clicks,
        corrected_dice=score_mean([clip.corrected_dice for clip in clips], patients),
        dice=score_mean([clip.dice for clip in clips], patients),
        automatic_dice=score_mean([clip.automatic_dice for clip in clips], patients),
        jitter=score_mean([clip.jitter for clip in clips], patients),
        automatic_jitter=score_mean([clip.automatic_jitter for clip in clips], patients),
        true_jitter=score_mean([clip.true_jitter for clip in clips], patients),
    )


def write_click_cases(path: Path, cases: Sequence[ClickCase]) -> None:
    """Write one row per case: what is behind the scores."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    most = max((len(case.from_nothing.dice) for case in cases), default=1)
    counts = range(most)
    rows.writerow(
        ["patient", "clip", "view", "frame", "structure", "name", "box", "box_and_name"]
        + [f"{start}_{count}" for start in ("from_nothing", "without_mask", "from_name") for count in counts]
    )
    for case in cases:
        runs = (case.from_nothing, case.without_mask, case.from_name)
        prompts = (case.name, case.box, case.box_and_name)
        rows.writerow(
            [case.patient, case.clip, case.view.value, case.frame, case.structure.key, *map(_cell, prompts)]
            + [_cell(run.dice[count] if run else None) for run in runs for count in counts]
        )
    write_bytes_atomically(path, text.getvalue().encode())


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"


def _score(cases: Sequence[ClickCase], value_of: Callable[[ClickCase], float | None]) -> Score:
    known = [(case.patient, value) for case in cases if (value := value_of(case)) is not None]
    return score_mean([value for _, value in known], [patient for patient, _ in known])


def _score_runs(runs: Sequence[tuple[str, ClickRun]], protocol: ClickProtocol) -> ClickCurve:
    if not runs:
        return ClickCurve()
    patients = [patient for patient, _ in runs]
    needed = [run.clicks_to(protocol.target_dice) for _, run in runs]
    made = [(patient, len(run.positive), run) for patient, run in runs if run.positive]
    return ClickCurve(
        curve=tuple(
            round(sum(run.dice[count] for _, run in runs) / len(runs), 6) for count in range(protocol.clicks + 1)
        ),
        dice={
            count: score_mean([run.dice[count] for _, run in runs], patients)
            for count in REPORTED_CLICKS
            if count <= protocol.clicks
        },
        noc=score_mean([float(protocol.clicks if count is None else count) for count in needed], patients),
        never=score_mean([float(count is None) for count in needed], patients),
        worsened=score_mean([run.worsened / count for _, count, run in made], [patient for patient, _, _ in made]),
        obeyed=score_mean([sum(run.obeyed) / count for _, count, run in made], [patient for patient, _, _ in made]),
        negative=score_mean(
            [1 - sum(run.positive) / count for _, count, run in made], [patient for patient, _, _ in made]
        ),
    )
