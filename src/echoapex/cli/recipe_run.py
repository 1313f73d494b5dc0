"""A recipe run from the command line: progress on standard error, figures on standard output, mistakes in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from echoapex.cli.console import ExitCode
from echoapex.cli.training_summary import TrainingProgress, tell_outcome
from echoapex.config import ConfigError, merge, parse_overrides, read_recipe
from echoapex.data.datasets.records import DatasetError
from echoapex.data.stores.frame_reader import FrameReaderError
from echoapex.data.stores.place import StoreError
from echoapex.models.bundle import BundleError
from echoapex.models.weights_file import WeightsError
from echoapex.phantom import PhantomError
from echoapex.recipes.recipe import TaskRecipe, parse_setting
from echoapex.recipes.runner import TASK_KINDS, build_recipe, find_recipe, finetune
from echoapex.train.checkpoint import CheckpointError
from echoapex.train.distributed import DistributedError
from echoapex.train.journal import TrackerError
from echoapex.train.monitor import DriftError
from echoapex.train.trainer import NonFiniteLossError


@dataclass(frozen=True)
class Invocation:
    """What was typed; ``kind`` is the kind of task that the verb wants, None for any."""

    verb: str
    recipe: str
    overrides: Sequence[str]
    kind: str | None = None
    setting: str | None = None
    dataset: str | None = None
    root: Path | None = None

    def values(self, seed: int | None = None) -> dict[str, Any]:
        """Everything that replaces a value of the recipe.

        Raises:
            ConfigError: an override or a setting cannot be read, or the recipe does not take it.
        """
        task = parse_setting(self.setting) if self.setting is not None else {}
        if self.root is not None:
            task["root"] = str(self.root)
        dataset = None if self.dataset is None else self.dataset.replace("-", "_")
        require_fields(self.recipe, task, dataset)
        if dataset is not None and dataset != ONLY_CAMUS[0]:
            task["dataset"] = dataset
        values: dict[str, Any] = merge({"task": task} if task else {}, parse_overrides(self.overrides))
        if seed is None:
            return values
        if values.get("task", {}).get("few_shot"):
            values = merge(values, {"task": {"few_shot": {"seed": seed}}})
        if "frames" in fields_of(self.recipe):  # other batches, not only other weights
            values = merge(values, {"task": {"frames": {"seed": seed}}})
        return merge(values, {"train": {"seed": seed}})


def run_recipe(typed: Invocation, out: Path, workers: int, quiet: bool) -> int:
    """Run a recipe into ``out`` and write its figures; returns the exit code. A mistake is one line."""
    run = _attempt(typed, out, None, workers, quiet)
    if isinstance(run, ExitCode):
        return run
    if quiet or not sys.stdout.isatty():  # a person reads the figures in the table
        for name, value in sorted(run.scores.items()):
            sys.stdout.write(f"{name}\t{value:.4f}\n")
    if run.scores and not quiet:
        tell_outcome(out, run.task)
    return ExitCode.ALL_GOOD


def run_seeds(typed: Invocation, out: Path, seeds: int, workers: int, quiet: bool) -> int:
    """Run a recipe with several seeds, each into a folder below ``out``, and sum up the figures; returns the exit code.

    Written and printed are the mean over the seeds and half the width of its 95 % interval (Student's t).
    """
    if seeds < 1:
        sys.stderr.write(f"echoapex {typed.verb}: --seeds {seeds} is not a number of runs; give 1 or more\n")
        return ExitCode.USAGE
    each: list[dict[str, float]] = []
    for seed in range(seeds):
        run = _attempt(typed, out / f"seed-{seed}", seed, workers, quiet)
        if isinstance(run, ExitCode):
            return run
        each.append(run.scores)
    summary = {name: summarise([scores[name] for scores in each]) for name in sorted(each[0])}
    content = {"labels": _labels_of(out / "seed-0" / "recipe.json"), "seeds": each, "summary": summary}
    (out / "seeds.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name, (mean, half_width) in summary.items():
        sys.stdout.write(f"{name}\t{mean:.4f}\t+-{half_width:.4f}\n")
    if not quiet:
        sys.stderr.write(f"weights: {out}/seed-*/bundles; mean and interval of all seeds: {out / 'seeds.json'}\n")
    return ExitCode.ALL_GOOD


def _labels_of(recipe: Path) -> dict[str, Any]:
    """What the recipe of a finished run says about how many labels it learned from."""
    task = json.loads(recipe.read_text(encoding="utf-8"))["task"]
    few = {name: value for name, value in (task.get("few_shot") or {}).items() if name != "seed"}
    return {"few_shot": few or None, "patients": task.get("patients")}


def summarise(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t.

    >>> summarise([1.0, 2.0, 3.0])
    (2.0, 2.4841)
    """
    spread = stats.t.ppf(0.975, len(values) - 1) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return round(float(np.mean(values)), 6), round(spread, 4)


def require_fields(recipe: str, task: Mapping[str, Any], dataset: str | None) -> None:
    """Refuse options that a recipe does not take, in words.

    Raises:
        ConfigError: its kind of task takes no such setting, no data set, or another one.
    """
    kind, fields = read_recipe(find_recipe(recipe)).get("task", {}).get("kind"), fields_of(recipe)
    missing = [name for name in task if name not in fields]
    if "setting" in missing:
        raise ConfigError(
            f"{recipe}: the encoder of a recipe of kind {kind} cannot be trained by a setting "
            "(the ejection fraction is decoded from a frozen encoder); leave --setting out"
        )
    if missing:
        raise ConfigError(f"{recipe}: a recipe of kind {kind} takes no {missing[0]}; leave it out")
    wanted = DATASETS_OF.get(kind, ())
    if dataset is not None and (dataset not in wanted or "root" not in task):
        names = " or ".join(wanted)
        reads = f"reads {names}; give --dataset {wanted[0]} and --root" if wanted else "reads no data set of its own"
        raise ConfigError(f"{recipe}: a recipe of kind {kind} {reads}")


def fields_of(recipe: str) -> Collection[str]:
    """The keys that the task section of a recipe may have; none where its kind is not known."""
    kind = read_recipe(find_recipe(recipe)).get("task", {}).get("kind")
    return TASK_KINDS[kind].model_fields if kind in TASK_KINDS else ()


ONLY_CAMUS = ("camus",)
DATASETS_OF = {
    "camus_segmentation": ONLY_CAMUS,
    "dataset_ejection_fraction": ("echonet_dynamic", "echonet_pediatric", "folder"),
    "dataset_segmentation": ("folder", "corrections"),
    "dataset_views": ("folder", "tmed2", "corrections"),
    "dataset_walls": ("corrections",),
}
"""The data sets that each kind of recipe can learn from."""


@dataclass(frozen=True)
class _Finished:
    """A run that came to its end: its validation figures, which other processes than the first do not have."""

    scores: dict[str, float]
    task: TaskRecipe


def _attempt(typed: Invocation, out: Path, seed: int | None, workers: int, quiet: bool) -> _Finished | ExitCode:
    """The finished run, or the exit code after one line that says what was wrong."""
    prepared = out.parent if seed is None else out.parent.parent
    try:
        overrides = typed.values(seed)
        path = find_recipe(typed.recipe)
        recipe = build_recipe(merge(read_recipe(path), overrides), path.name)
        if typed.kind is not None and recipe.task.kind != typed.kind:
            wrong = f"task.kind is {recipe.task.kind!r}, not {typed.kind!r}"
            raise ConfigError(f"{path.name}: {wrong}; run it with echoapex finetune")
        with TrainingProgress(log_every=recipe.train.log_every, quiet=quiet) as progress:
            scores = finetune(typed.recipe, overrides, out, workers, progress.reporting, prepared)
        return _Finished(scores, recipe.task)
    except (
        ConfigError, CheckpointError, BundleError, WeightsError, DatasetError, PhantomError, FrameReaderError,
        StoreError, DistributedError, TrackerError,
    ) as error:  # fmt: skip
        sys.stderr.write(f"echoapex {typed.verb}: {error}\n")
        return ExitCode.USAGE
    except OSError as error:
        what = f"{error.filename or out}: {error.strerror or error}"
        sys.stderr.write(f"echoapex {typed.verb}: {what}; check the paths, and that there is room in --out\n")
        return ExitCode.USAGE
    except (NonFiniteLossError, DriftError) as error:
        sys.stderr.write(f"echoapex {typed.verb}: {error}\n")
        return ExitCode.NOTHING_ANALYSED
