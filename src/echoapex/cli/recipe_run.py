"""A recipe run from the command line: progress on standard error, figures on standard output, mistakes in one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from echoapex.cli.exit_codes import ExitCode
from echoapex.config import ConfigError, merge, parse_overrides, read_recipe
from echoapex.data.datasets.camus import CamusError
from echoapex.data.frame_reader import FrameReaderError
from echoapex.models.bundle import BundleError
from echoapex.models.weights_file import WeightsError
from echoapex.phantom import PhantomError
from echoapex.tasks.task import Loss
from echoapex.train.checkpoint import CheckpointError
from echoapex.train.distributed import DistributedError
from echoapex.train.drift_guard import DriftError
from echoapex.train.finetune import Reporting, build_recipe, find_recipe, finetune
from echoapex.train.loop import NonFiniteLossError
from echoapex.train.trackers import TrackerError


@dataclass(frozen=True)
class Invocation:
    """What was typed; ``kind`` is the kind of task that the verb wants, None for any."""

    verb: str
    recipe: str
    overrides: Sequence[str]
    kind: str | None = None


def run_recipe(typed: Invocation, out: Path, workers: int, quiet: bool) -> int:
    """Run a recipe into ``out`` and write its figures; returns the exit code. A mistake is one line."""
    reporting = Reporting() if quiet else Reporting(_prepared, _stepped)
    try:
        overrides = parse_overrides(typed.overrides)
        if typed.kind is not None:
            _require_kind(typed.recipe, overrides, typed.kind)
        scores = finetune(typed.recipe, overrides, out, workers, reporting)
    except (
        ConfigError, CheckpointError, BundleError, WeightsError, CamusError, PhantomError, FrameReaderError,
        DistributedError, TrackerError,
    ) as error:  # fmt: skip
        sys.stderr.write(f"echoapex {typed.verb}: {error}\n")
        return ExitCode.USAGE
    except (NonFiniteLossError, DriftError) as error:
        sys.stderr.write(f"echoapex {typed.verb}: {error}\n")
        return ExitCode.NOTHING_ANALYSED
    for name, value in sorted(scores.items()):
        sys.stdout.write(f"{name}\t{value:.4f}\n")
    return ExitCode.ALL_GOOD


def _require_kind(recipe: str, overrides: dict[str, object], kind: str) -> None:
    """Refuse a recipe of another kind of task before anything is drawn."""
    path = find_recipe(recipe)
    task = build_recipe(merge(read_recipe(path), overrides), path.name).task
    found = getattr(task, "kind", None)
    if found != kind:
        raise ConfigError(f"{path.name}: task.kind is {found!r}, not {kind!r}; run it with echoapex finetune")


def _prepared(what: str, done: int, total: int) -> None:
    sys.stderr.write(f"{what}: {done} of {total}\n")


def _stepped(step: int, steps: int, loss: Loss) -> None:
    if step % 10 == 0:
        terms = "  ".join(f"{name} {float(value):.4f}" for name, value in loss.terms.items())
        sys.stderr.write(f"step {step} of {steps}  loss {float(loss.total.detach()):.4f}  {terms}\n")
