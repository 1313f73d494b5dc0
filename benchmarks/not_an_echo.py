"""What the gate sets aside, and what it wrongly sets aside: one table over real and drawn pictures, in two halves.

    python benchmarks/not_an_echo.py [--data FOLDER] [--drawn 24] [--camus-step 6] [--judge-only PATH ...] [--out FILE]

FOLDER holds real echocardiograms and others (see ``gate_cases.py``); what is absent is left out. Coefficients were
fitted to the tuning half; the limits were set by hand with pictures of both halves in view. Paths of ``--judge-only``
are further echocardiograms that were never tuned on.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from gate_cases import Case, drawn_cases, phantom_cases, read_frames, real_cases

from echoapex.io.clip_file import open_clip
from echoapex.io.content import FoundContent, content_of_pixels
from echoapex.io.study_files import find_clips

GOAL_SET_ASIDE, GOAL_LOST = 0.95, 0.02
_DRAWN_CLIPS = 24


@dataclass(frozen=True)
class Verdict:
    """What became of one picture."""

    group: str
    name: str
    half: str
    is_echo: bool
    set_aside: bool
    kind: str
    reason: str


def judge(case: Case) -> Verdict:
    """One picture: a file through its reader, a drawing by its pixels."""
    if case.path is None:
        content = content_of_pixels(case.frames())
    else:
        (clip,) = find_clips([case.path])
        if isinstance(clip, Exception):
            raise clip
        opened = open_clip(clip)
        header = opened.header
        opened.close()
        content = FoundContent(header.content, header.content_reason)
    return Verdict(
        case.group, case.name, case.half, case.is_echo, content.is_set_aside, content.kind.value, content.reason
    )


def collect(folder: Path | None, drawn: int, camus_step: int, judge_only: Sequence[Path]) -> list[Verdict]:
    """All cases, judged."""
    real = [*real_cases(folder), *phantom_cases()]
    camus = [case for case in real if case.group.startswith("CAMUS 224")]
    kept = [case for case in real if not case.group.startswith("CAMUS 224")] + camus[:: max(1, camus_step)]
    kept += [
        Case("judged only", path.name, True, "judging", lambda path=path: read_frames(path), path)
        for path in judge_only
    ]
    halves = ("tuning", "judging")
    clips = {
        half: [
            _rgb(case.frames()) for case in kept if case.is_echo and case.half == half and "CAMUS" not in case.group
        ][:_DRAWN_CLIPS]
        for half in halves
    }
    return [judge(case) for case in [*kept, *drawn_cases(drawn, clips)]]


def _rgb(frames: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack([np.repeat(frame[..., None], 3, axis=2) if frame.ndim == 2 else frame for frame in frames])


def write_table(verdicts: Iterable[Verdict]) -> str:
    """Counts of every group in both halves, echocardiograms last, and the two totals beside their goals."""
    counts: dict[tuple[bool, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for verdict in verdicts:
        for group in (verdict.group, "all"):
            cell = counts[verdict.is_echo, group, verdict.half]
            cell[0] += verdict.set_aside
            cell[1] += 1
    lines = ["| pictures | set aside, tuning half | set aside, judging half |", "|---|---|---|"]
    for is_echo in (False, True):
        groups = sorted({group for echo, group, _ in counts if echo is is_echo} - {"all"})
        for group in [*groups, "all"]:
            title = group if group != "all" else f"**{'echocardiograms (lost)' if is_echo else 'no echocardiogram'}**"
            cells = (_share(counts.get((is_echo, group, half), [0, 0])) for half in ("tuning", "judging"))
            lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", f"goals: at least {GOAL_SET_ASIDE:.0%} of what is none, at most {GOAL_LOST:.0%} of echocardiograms"]
    return "\n".join(lines)


def _share(cell: list[int]) -> str:
    return f"{cell[0]} of {cell[1]} ({cell[0] / cell[1]:.1%})" if cell[1] else "-"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of real pictures")
    parser.add_argument("--drawn", type=int, default=24, help="drawings of each kind")
    parser.add_argument("--camus-step", type=int, default=1, help="every so many frames of CAMUS 224")
    parser.add_argument("--judge-only", type=Path, nargs="*", default=(), help="echocardiograms never tuned on")
    parser.add_argument("--out", type=Path, help="write every verdict as JSON")
    options = parser.parse_args(arguments)
    verdicts = collect(options.data, options.drawn, options.camus_step, options.judge_only)
    if options.out:
        options.out.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1))
    print(write_table(verdicts))
    for verdict in verdicts:
        if verdict.set_aside is verdict.is_echo:
            print(f"  wrong: {verdict.group}, {verdict.name} ({verdict.half}): {verdict.kind} {verdict.reason}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
