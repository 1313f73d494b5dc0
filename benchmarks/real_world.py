"""The development score: how a set of weights reads real clips, source by source.

    python benchmarks/real_development_folders.py --data DATA --out FOLDERS
    python benchmarks/real_world.py --folders FOLDERS --bundle NAME --out SCORES [--learnt-from mit] [--camus CAMUS]

FOLDERS holds one folder with ``clips.csv`` per source. Printed, and written to SCORES as ``real_world.json``:

* views per source, in eight coarse classes (A4C, A2C, A3C, A5C, PLAX, PSAX, subcostal, other) and as named: balanced
  accuracy over the classes that the source shows; clips set aside; wrong calls, and wrong ones surer than 0.8;
* outlines where a source has them, on the true view: mean Dice per structure;
* flicker of clips: frames without an LV in views that show one, name changes in 100 frames, and area jitter (the median
  relative change of the LV's area that its neighbours in time do not explain, percent);
* with ``--camus``, ``echoapex evaluate`` on the validation split.

A source that the weights learnt from (``--learnt-from``) is marked: its figures say nothing of other patients.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from echoapex.cli import run as run_echoapex
from echoapex.data.datasets.folder import ClipFolder
from echoapex.data.datasets.records import DatasetClip
from echoapex.infer.clip.analyze import ClipAnalysis, analyze_clip
from echoapex.infer.clip.models import Interpreter, TaskInterpreter, ViewOverride
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.io.study_files import open_only_clip
from echoapex.models.registry import DEFAULT_SET
from echoapex.vocabulary import VISIBLE_STRUCTURES, Structure, View

SURE = 0.8
LV_VIEWS = frozenset({View.A4C, View.A2C, View.PLAX})
_VIEW_ONLY = AnalysisOptions(contours="ed_es", max_encoded_frames=32)
_OUTLINED = AnalysisOptions(contours="cycle", max_encoded_frames=48, max_segmented_frames=48)
_SMALLEST_SHARE = 0.001
"""Of a frame's pixels that a structure must have to count as named."""


def coarse(view: View) -> str:
    """The class of a view: apical windows and PLAX each for itself, all short axes together.

    >>> coarse(View.PSAX_AV), coarse(View.TEE_4C)
    ('PSAX', 'other')
    """
    if view in (View.A4C, View.A2C, View.A3C, View.A5C, View.PLAX):
        return view.value
    window = view.value.split("_")[0]
    return {"PSAX": "PSAX", "SUBCOSTAL": "subcostal"}.get(window, "other")


@dataclass(frozen=True)
class Call:
    """What a clip shows, what it was called (None when set aside), and how sure the call was."""

    clip: str
    truth: View
    called: View | None
    probability: float

    @property
    def is_right(self) -> bool:
        return self.called is not None and coarse(self.called) == coarse(self.truth)

    @property
    def is_sure_error(self) -> bool:
        return self.called is not None and not self.is_right and self.probability > SURE


@dataclass(frozen=True)
class Flicker:
    """How steadily a clip was outlined, on its true view."""

    frames: int
    without_lv: int
    name_changes: int
    area_jitter_percent: float | None


@dataclass
class SourceScore:
    """Everything measured on one source."""

    learnt_from: bool
    calls: list[Call] = field(default_factory=list)
    dice: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    flicker: list[tuple[View, Flicker]] = field(default_factory=list)

    def summary(self) -> dict[str, float | int | None]:
        """The figures of the table."""
        lv = [flicker for view, flicker in self.flicker if view in LV_VIEWS]
        frames = sum(flicker.frames for _, flicker in self.flicker)
        jitter = [flicker.area_jitter_percent for flicker in lv if flicker.area_jitter_percent is not None]
        called = [call for call in self.calls if call.called is not None]
        return {
            "clips": len(self.calls),
            "coarse_balanced_accuracy": balanced_accuracy([(coarse(c.truth), c.is_right) for c in self.calls]),
            "named_balanced_accuracy": balanced_accuracy([(c.truth.value, c.called is c.truth) for c in self.calls]),
            "set_aside": len(self.calls) - len(called),
            "wrong": sum(not call.is_right for call in called),
            "wrong_and_sure": sum(call.is_sure_error for call in called),
            **{f"dice_{name}": round(float(np.mean(values)), 4) for name, values in sorted(self.dice.items())},
            "lv_frames": sum(flicker.frames for flicker in lv),
            "lv_frames_without": sum(flicker.without_lv for flicker in lv),
            "name_changes_in_100": round(100 * sum(f.name_changes for _, f in self.flicker) / frames, 2)
            if frames
            else None,
            "area_jitter_percent": round(float(np.median(jitter)), 2) if jitter else None,
        }


def balanced_accuracy(cases: Sequence[tuple[str, bool]]) -> float | None:
    """Mean over the classes of the share that is right.

    >>> balanced_accuracy([("A4C", True), ("A4C", True), ("PLAX", False)])
    0.5
    """
    by_class: dict[str, list[bool]] = defaultdict(list)
    for name, right in cases:
        by_class[name].append(right)
    return round(float(np.mean([np.mean(right) for right in by_class.values()])), 4) if by_class else None


def measure_flicker(labels: Mapping[int, np.ndarray], view: View) -> Flicker:
    """Flicker of the label maps of consecutive outlined frames.

    A name changes where a structure that covers some of a frame is mostly another structure on the next.
    """
    frames = sorted(labels)
    areas = np.array([(labels[frame] == Structure.LV_CAVITY).sum() for frame in frames], float)
    smallest = _SMALLEST_SHARE * labels[frames[0]].size if frames else 0
    changes = sum(_name_changes(labels[a], labels[b], smallest) for a, b in pairwise(frames))
    shows_lv = Structure.LV_CAVITY in VISIBLE_STRUCTURES[view]
    jitter = None
    if shows_lv and len(frames) >= 3 and (areas > smallest).all():
        between = (areas[:-2] + areas[2:]) / 2
        jitter = float(100 * np.median(np.abs(areas[1:-1] - between) / between))
    return Flicker(len(frames), int((areas <= smallest).sum()) if shows_lv else 0, changes, jitter)


def _name_changes(before: np.ndarray, after: np.ndarray, smallest: float) -> int:
    changes = 0
    for structure in Structure:
        here = before == structure
        if here.sum() > smallest:
            counts = np.bincount(after[here], minlength=len(Structure) + 1)
            changes += bool(counts[1:].argmax() + 1 != structure and counts[1:].max() > here.sum() / 2)
    return changes


def score_source(root: Path, interpreter: Interpreter, learnt_from: bool) -> SourceScore:
    """Read every clip of a folder twice: its view as the set finds it, its outlines on the true view."""
    score = SourceScore(learnt_from)
    for record in ClipFolder(root).records():
        if record.view is None:
            continue
        found = _analyze(record, interpreter, _VIEW_ONLY)
        probability = max(found.report.view_probabilities.values(), default=0.0)
        score.calls.append(Call(record.name, record.view, found.report.view, round(probability, 3)))
        told = _analyze(record, ViewOverride(interpreter, record.view), _OUTLINED)
        if told.header.frame_count > 2 and told.labels.frames:
            maps = {frame: told.labels[frame] for frame in told.labels.frames}
            score.flicker.append((record.view, measure_flicker(maps, record.view)))
        for structure, dice in _dice_of(record, told):
            score.dice[structure.key].append(dice)
    return score


def _analyze(record: DatasetClip, interpreter: Interpreter, options: AnalysisOptions) -> ClipAnalysis:
    return analyze_clip(open_only_clip(record.path), record.name, interpreter, options)


def _dice_of(record: DatasetClip, told: ClipAnalysis) -> Iterator[tuple[Structure, float]]:
    for frame, truth in record.read_labels().items() if record.outlined else ():
        found = told.labels[frame] if frame in told.labels.frames else np.zeros_like(truth)
        for structure in record.outlined:
            inside, given = found == structure, truth == structure
            if given.any():
                yield structure, 2 * float((inside & given).sum()) / float(inside.sum() + given.sum())


def write_table(scores: Mapping[str, SourceScore]) -> str:
    """One row per source, and one over all that nothing was learnt from."""
    names = ("clips", "coarse_balanced_accuracy", "named_balanced_accuracy", "set_aside", "wrong", "wrong_and_sure",
             "lv_frames_without", "lv_frames", "name_changes_in_100", "area_jitter_percent")  # fmt: skip
    lines = [
        "| source | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    unseen = SourceScore(False)
    for source, score in scores.items():
        row = score.summary()
        mark = " (learnt from)" if score.learnt_from else ""
        lines.append(f"| {source}{mark} | " + " | ".join(_cell(row[name]) for name in names) + " |")
        if not score.learnt_from:
            unseen.calls += score.calls
            unseen.flicker += score.flicker
    row = unseen.summary()
    lines.append("| all not learnt from | " + " | ".join(_cell(row[name]) for name in names) + " |")
    for source, score in scores.items():
        if score.dice:
            figures = ", ".join(
                f"{name} {np.mean(values):.3f} (n {len(values)})" for name, values in score.dice.items()
            )
            lines.append(f"\nDice, {source}, true view: {figures}")
    return "\n".join(lines)


def _cell(value: float | int | None) -> str:
    return "-" if value is None else f"{value:g}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", type=Path, required=True)
    parser.add_argument("--bundle", default=DEFAULT_SET)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--learnt-from", default="", help="sources that the weights learnt from, with commas")
    parser.add_argument("--camus", type=Path, default=None, help="score the validation split of CAMUS as well")
    chosen = parser.parse_args(arguments)
    roots = sorted(path.parent for path in chosen.folders.glob("*/clips.csv"))
    if not roots:
        sys.stderr.write(f"{chosen.folders}: holds no folder with clips.csv; write them first\n")
        return 2
    interpreter = TaskInterpreter.load(chosen.bundle)
    learnt = set(chosen.learnt_from.split(","))
    scores = {root.name: score_source(root, interpreter, root.name in learnt) for root in roots}
    sys.stdout.write(write_table(scores) + "\n")
    chosen.out.mkdir(parents=True, exist_ok=True)
    content = {
        name: {"learnt_from": score.learnt_from, **score.summary(), "calls": [asdict(call) for call in score.calls]}
        for name, score in scores.items()
    }
    (chosen.out / "real_world.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if chosen.camus is None:
        return 0
    return run_echoapex(["evaluate", "--dataset", "camus", "--root", str(chosen.camus), "--split", "val",
                          "--bundle", chosen.bundle, "--out", str(chosen.out / "camus")])  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
