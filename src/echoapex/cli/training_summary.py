"""What ``finetune`` and ``pretrain`` tell a person: how far a run is, what it gained, and which command comes next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from echoapex.cli.console import ERRORS, TerminalProgress
from echoapex.models.encoder import EncoderConfig
from echoapex.models.registry import ENCODER
from echoapex.recipes.pretrain import PretrainRecipe
from echoapex.recipes.recipe import TaskRecipe
from echoapex.recipes.runner import Reporting
from echoapex.tasks.task import Loss
from echoapex.train.journal import JOURNAL_FILE, ValidationFigures, read_figures

_CALIBRATION = ("temperature", "over_variance")
"""Ends of the names of figures that calibrate the weights and do not tell how good they are."""
_LINES_OF_PREPARATION = 10
"""Largest number of lines about one preparation when standard error is not a terminal."""


class TrainingProgress(TerminalProgress):
    """How far a run is: a bar on a terminal, elsewhere one line for every ``log_every`` steps."""

    def __init__(self, *, log_every: int, quiet: bool) -> None:
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[detail]}"),
            quiet=quiet,
        )
        self._log_every = log_every
        self._quiet = quiet
        self._task = self._progress.add_task("preparing", total=None, detail="")
        self._told = ("", -1)

    @property
    def reporting(self) -> Reporting:
        """What the runner calls."""
        return Reporting(noted=self.noted) if self._quiet else Reporting(self.prepared, self.stepped, self.noted)

    def prepared(self, what: str, done: int, total: int) -> None:
        """So much of some data is prepared."""
        if not self._progress.disable:
            self._progress.update(self._task, description=escape(what), completed=done, total=total, detail="")
            return
        share = (what, _LINES_OF_PREPARATION * done // max(total, 1))
        if share != self._told:
            self._told = share
            sys.stderr.write(f"{what}: {done} of {total}\n")

    def stepped(self, step: int, steps: int, loss: Loss) -> None:
        """A step is done; ``step`` counts from 0."""
        if not self._progress.disable:
            self._progress.update(self._task, description="training", completed=step + 1, total=steps)
            if step % self._log_every == 0:
                self._progress.update(self._task, detail=f"loss {float(loss.total.detach()):.4f}")
        elif step % self._log_every == 0:
            terms = "  ".join(f"{name} {float(value):.4f}" for name, value in loss.terms.items())
            sys.stderr.write(f"step {step} of {steps}  loss {float(loss.total.detach()):.4f}  {terms}\n")

    def noted(self, text: str) -> None:
        """Something worth knowing; when quiet, warnings only."""
        if self._quiet and not text.startswith("warning"):
            return
        if self._progress.disable:
            sys.stderr.write(f"{text}\n")
        else:
            self._progress.console.print(text, markup=False)


def tell_outcome(out: Path, task: TaskRecipe) -> None:
    """Say where the weights of a finished run are, what it gained over its start, and what to type next."""
    figures = read_figures(out / JOURNAL_FILE)
    ERRORS.print(outcome_table(figures))
    if not figures.start:
        ERRORS.print("the figures before the first step are not known: an earlier version began this run")
    ERRORS.print(f"weights: {out / 'bundles'}", markup=False)
    ERRORS.print("next:")
    for command in next_commands(out, task):
        ERRORS.print(f"  {command}", markup=False)


def outcome_table(figures: ValidationFigures) -> Table:
    """The validation figures before the first step and after the last; those that only calibrate are left out."""
    table = Table("validation", "before", "after", "change", box=None, pad_edge=False, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, value in sorted(figures.latest.items()):
        if not name.endswith(_CALIBRATION):
            table.add_row(escape(name), *_change(figures.start, name, value))
    return table


def _change(start: Mapping[str, float], name: str, value: float) -> tuple[str, str, str]:
    if name not in start:
        return "-", f"{value:.4f}", "-"
    return f"{start[name]:.4f}", f"{value:.4f}", f"{value - start[name]:+.4f}"


def next_commands(out: Path, task: TaskRecipe) -> list[str]:
    """Commands that make use of a finished run: look at its cards, and analyse with it or teach its encoder a task."""
    bundles = out / "bundles"
    if isinstance(task, PretrainRecipe):
        return [_teach(bundles / ENCODER, task.encoder, Path(f"{out}-finetuned"))]
    results = Path(f"{out}-results")
    return [
        shlex.join(["echoapex", "models", "card", str(bundles)]),
        f"echoapex analyze STUDY {shlex.join(['--bundle', str(bundles), '--out', str(results)])}",
    ]


def _teach(encoder: Path, config: EncoderConfig, out: Path) -> str:
    """The command that teaches views, structures and walls on this encoder, whatever its size."""
    words = ["echoapex", "finetune", "phantom_multitask", "--task.encoder_bundle", str(encoder)]
    usual = EncoderConfig(size="tiny", patch_size=16)
    if config.size != usual.size:
        words += ["--task.encoder.size", str(config.size)]
        for decoder in ("view", "segmentation", "wall"):
            words += [f"--task.{decoder}.width", str(config.width)]
    if config.patch_size != usual.patch_size:
        side = 8 * config.patch_size
        words += ["--task.encoder.patch_size", str(config.patch_size), "--task.encoder.image_size", str(side)]
        words += ["--task.frames.sizes", f"[[0, {side}]]"]
    return shlex.join([*words, "--out", str(out)])
