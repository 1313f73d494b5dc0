"""The training loop: batch, loss, gradient, update. It knows ``Task`` and no particular task.

All randomness in a step comes from generators seeded by (seed, step, process), and the batch of a step depends on the
step alone. So k steps equal k/2 steps, a resume, and k/2 steps, bit for bit on CPU.

Activation checkpointing saves memory and compiled blocks save time, for the same step.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.utils.checkpoint import checkpoint

from echoapex.config import Config
from echoapex.data.batch import BatchSource, prefetched, workers_for
from echoapex.models.attention import Block
from echoapex.models.precision import ChosenPrecision, Precision, choose_precision
from echoapex.tasks.task import Cases, Loss, Task
from echoapex.train.checkpoint import (
    CHECKPOINT_FILE,
    GOOD_FILE,
    Checkpoint,
    Position,
    load_checkpoint,
    read_precision,
    save_checkpoint,
)
from echoapex.train.distributed import Processes
from echoapex.train.journal import BEFORE_FIRST_STEP, Clock, Journal, Tracker, open_trackers
from echoapex.train.monitor import DriftError, DriftGuardConfig, Health, judge, save_nonfinite_dump
from echoapex.train.optim import (
    GradientRules,
    Gradients,
    OptimConfig,
    WeightAverage,
    build_optimizer,
    learning_rate,
    set_learning_rate,
    set_weight_decay,
    weight_decay,
)

MACHINE_FILE = "machine.json"
"""Names the machine and the precision of a run, as of its last start."""
_SEEDS_PER_PROCESS = 1 << 40


class TrainConfig(Config):
    """How long and how to train."""

    steps: int = Field(ge=1)
    minutes: float | None = Field(default=None, gt=0)
    """Stop after so many minutes of training, with a checkpoint, also before ``steps``; the same command goes on."""
    seed: int = 0
    accumulate: int = Field(default=1, ge=1)
    """Number of parts in which a batch is computed, to save memory; the update uses the mean gradient of the parts."""
    activation_checkpointing: bool = False
    """Recompute the activations of encoder blocks in the backward pass, to save memory."""
    compile: bool = False
    """Compile the encoder's blocks; takes minutes at the start and pays off on a GPU."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """With several processes, each holds all parameters (ddp) or a part of them (fsdp)."""
    precision: Precision = "auto"
    """``auto``: bf16 where the machine is fast at it, else fp32; a resumed run keeps its precision."""
    average_decay: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the moving average of the weights, which is scored and exported; 0: no averaging."""
    checkpoint_every: int = Field(default=250, ge=1)
    score_every: int = Field(default=250, ge=1)
    log_every: int = Field(default=10, ge=1)
    device: str = "cpu"
    loader_workers: int | None = Field(default=None, ge=0)
    """Processes that prepare batches for each training process. None: the free cores beside a GPU; on a CPU 0, which
    means a thread of the training process."""
    guard: DriftGuardConfig = DriftGuardConfig()
    """Which validation scores stop the run, or roll it back, when they fall."""
    trackers: tuple[Tracker, ...] | None = None
    """Where journal entries are sent as well; None: to TensorBoard if it is installed."""
    optim: OptimConfig = OptimConfig()


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient is not finite; the message names the step and the terms."""


@dataclass(frozen=True, eq=False)
class Run:
    """The parts of a training run: task, training and validation batches, output directory, processes.

    A run can only be resumed with the same ``recipe``. ``noted`` is called with messages for a person, besides the
    progress.
    """

    task: Task
    batches: BatchSource
    validation: BatchSource | None
    validation_batches: int
    directory: Path
    recipe: Mapping[str, Any]
    processes: Processes = field(default_factory=Processes)
    noted: Callable[[str], None] = lambda text: None
    scores_start: bool = False
    """Whether a fresh run is validated once before its first update; a run that goes on was validated then."""


def train(
    run: Run, config: TrainConfig, on_step: Callable[[int, int, Loss], None] = lambda step, steps, loss: None
) -> int:
    """Train to ``config.steps`` updates; resume from ``checkpoint.safetensors`` if it exists.

    ``on_step`` is called after every update with its number, the number of all updates, and the loss.

    On return the task holds the averaged weights. With several processes, the first one writes, scores and reports.

    Returns:
        The updates done so far, fewer than ``config.steps`` when ``config.minutes`` ended the training.

    Raises:
        DistributedError: the batches cannot be divided among the processes.
        NonFiniteLossError: the loss or its gradient became infinite or NaN; weights and the last checkpoint are
            unchanged.
        DriftError: a watched score fell; the last checkpoint is unchanged.
        TrackerError: a tracker that the recipe names is not installed.
    """
    ends_s = math.inf if config.minutes is None else time.monotonic() + 60 * config.minutes
    task = run.task.to(torch.device(config.device))
    optimizer = build_optimizer(task, config.optim)
    parts = Checkpoint(task, optimizer, WeightAverage(task, config.average_decay))
    path = run.directory / CHECKPOINT_FILE
    at = load_checkpoint(path, parts, run.recipe) if path.exists() else Position()
    precision = _agree_on_precision(run, config, read_precision(path) if path.exists() else None)
    rules = GradientRules(config.accumulate, precision, config.optim.clip_norm)
    gradients = Gradients(task, optimizer, rules, run.processes)
    if at.step < config.steps and run.processes.is_first:
        _note_machine(run, config, precision)
    with open_trackers(config.trackers if run.processes.is_first else (), run.directory, at.step) as trackers:
        journal = Journal(run.directory, at.step, trackers) if run.processes.is_first else None
        if run.scores_start and at.step == 0:
            _score_start(run, parts.average, torch.device(config.device), journal)
        course = _Course(run, config, parts, gradients, run.processes.share_of(run.batches), journal, on_step, ends_s)
        course.reached = at.step
        while (problem := course.go_on(at)) is not None:
            at = course.roll_back(at, problem)
    with torch.no_grad():
        parameters = dict(task.named_parameters())
        for name, value in parts.average.state.items():
            parameters[name].copy_(value)
    task.eval()
    return course.reached


@dataclass(eq=False)
class _Course:
    """The loop from a position to the end of the run, and the state that it needs."""

    run: Run
    config: TrainConfig
    parts: Checkpoint
    gradients: Gradients
    batches: BatchSource
    journal: Journal | None
    on_step: Callable[[int, int, Loss], None]
    ends_s: float
    reached: int = 0

    def go_on(self, at: Position) -> str | None:
        """Update until the end or until time is up (returns None), or until a rollback is due (returns the reason)."""
        run, config, optimizer, processes = self.run, self.config, self.parts.optimizer, self.run.processes
        task, device = run.task, torch.device(config.device)
        clock, examples, workers = Clock(), 0, workers_for(config.device, config.loader_workers)
        batches = prefetched(self.batches, at.step + at.skipped, config.steps + at.skipped, workers)
        for step, batch in enumerate(batches, start=at.step):
            torch.manual_seed(config.seed * 1_000_003 + step + processes.rank * _SEEDS_PER_PROCESS)
            task.train()
            slowed = config.guard.rate_after_rollback**at.rollbacks
            set_learning_rate(optimizer, slowed * learning_rate(step, config.steps, config.optim), step)
            set_weight_decay(optimizer, weight_decay(step, config.steps, config.optim))
            placed = batch.to(device)
            loss, norms = self.gradients.compute(placed)
            if not (torch.isfinite(loss.total) and all(map(math.isfinite, norms.values()))):
                raise _non_finite(run, step, loss, placed)
            optimizer.step()
            task.after_step(step)
            self.parts.average.update(task, step)
            self.reached = step + 1
            examples += len(batch) * processes.count
            if self.journal is not None:
                self.on_step(step, config.steps, loss)
                if step % config.log_every == 0:
                    norm = {"gradient_norm": round(math.hypot(*norms.values()), 5)}
                    self.journal.write(step, loss=loss.total.item(), **clock.read(examples), **_plain(loss), **norm)
            last = self.reached == config.steps
            if run.validation is not None and (last or self.reached % config.score_every == 0):
                problem = self._judge(at)
                if problem is not None:
                    return problem
            stops = not last and self._is_time_up()
            if processes.takes_part and (last or stops or self.reached % config.checkpoint_every == 0):
                self._save(CHECKPOINT_FILE, replace(at, step=self.reached))
            if stops:
                self._score_stop()
                break
        return None

    def _is_time_up(self) -> bool:
        """Whether time is up in any process; without a limit no process asks the others."""
        return self.ends_s < math.inf and bool(self.run.processes.largest_of(int(time.monotonic() >= self.ends_s)))

    def _score_stop(self) -> None:
        """Validate the weights of an early stop; the drift guard does not see these scores, so a resume is exact."""
        run = self.run
        run.noted(f"time is up after {self.reached} of {self.config.steps} steps; the same command goes on")
        if run.validation is None or not run.processes.takes_part or self.reached % self.config.score_every == 0:
            return
        scores = score(run, self.parts.average, torch.device(self.config.device))
        if self.journal is not None:
            self.journal.write(self.reached - 1, stop_scores=scores)

    def roll_back(self, at: Position, problem: str) -> Position:
        """Restore the last good state; training goes on with the next batches and a lower learning rate."""
        good = load_checkpoint(self.run.directory / GOOD_FILE, self.parts, self.run.recipe)
        skipped = at.skipped + self.reached - good.step
        back = Position(good.step, at.rollbacks + 1, skipped)
        if self.run.processes.takes_part:
            self._save(CHECKPOINT_FILE, back)
        if self.journal is not None:
            self.journal.roll_back(back.step, back.rollbacks, problem)
        self.run.processes.wait()
        return back

    def _judge(self, at: Position) -> str | None:
        """Score, and check the watched scores; every process gets the same verdict."""
        guard, processes = self.config.guard, self.run.processes
        health, problem = Health.GOOD, ""
        if processes.takes_part:
            scores = score(self.run, self.parts.average, torch.device(self.config.device))
            if self.journal is not None:
                self.journal.write(self.reached - 1, scores=scores)
                health, problem = judge(self.journal.scores(), guard)
        health = Health(processes.largest_of(int(health)))
        if health is Health.DRIFTED:
            can_roll_back = guard.on_drift == "rollback" and at.rollbacks < guard.most_rollbacks
            if can_roll_back and (self.run.directory / GOOD_FILE).exists():
                return problem
            raise DriftError(f"{problem}; lower train.optim.lr and start anew, or change train.guard")
        if health is Health.GOOD and guard.on_drift == "rollback" and processes.takes_part:
            self._save(GOOD_FILE, replace(at, step=self.reached))
        return None

    def _save(self, name: str, at: Position) -> None:
        about = {"recipe": json.dumps(self.run.recipe, default=str), "precision": self.gradients.precision}
        save_checkpoint(self.run.directory / name, self.parts, at, about, self.run.processes.is_first)


@torch.no_grad()
def score(run: Run, average: WeightAverage, device: torch.device) -> dict[str, float]:
    """Validation scores of the averaged weights, over the cases of all validation batches."""
    assert run.validation is not None
    run.task.eval()
    found: dict[str, list[torch.Tensor]] = {}
    with average.applied_to(run.task):
        for number in range(run.validation_batches):
            for name, rows in run.task.cases(run.validation.batch(number).to(device)).items():
                found.setdefault(name, []).append(rows.cpu())
    cases: Cases = {name: torch.cat(rows) for name, rows in found.items()}
    return {name: round(value, 5) for name, value in run.task.summarise(cases).items()}


def _score_start(run: Run, average: WeightAverage, device: torch.device, journal: Journal | None) -> None:
    """Validate the weights that training starts from, and write it down; the random state stays as it is."""
    if run.validation is None or not run.processes.takes_part:
        return
    with torch.random.fork_rng(devices=[]):
        scores = score(run, average, device)
    if journal is not None:
        journal.write(BEFORE_FIRST_STEP, start_scores=scores)


def _agree_on_precision(run: Run, config: TrainConfig, began_with: Precision | None) -> ChosenPrecision:
    """Choose the same precision in every process; a resumed run keeps its precision unless the recipe sets another."""
    wanted = began_with if began_with is not None and config.precision == "auto" else config.precision
    chosen = choose_precision(wanted, config.device)
    if wanted == "auto" and run.processes.largest_of(int(chosen.name == "fp32")) and chosen.name == "bf16":
        return ChosenPrecision("fp32", "bf16 is slow on the machine of another process")
    if wanted == began_with and config.precision == "auto":
        return replace(chosen, reason="the run began with it")
    return chosen


def _note_machine(run: Run, config: TrainConfig, precision: ChosenPrecision) -> None:
    """Write and report the machine and the precision of the run."""
    machine = {
        "precision": precision.name,
        "because": precision.reason,
        "warning": precision.warning,
        "device": config.device,
        "machine": platform.machine(),
        "processor": _processor_name(),
        "threads": torch.get_num_threads(),
        "processes": run.processes.count,
        "torch": torch.__version__,
    }
    (run.directory / MACHINE_FILE).write_text(json.dumps(machine, indent=2) + "\n", encoding="utf-8")
    run.noted(f"precision {precision.name}: {precision.reason}")
    if precision.warning is not None:
        run.noted(f"warning: {precision.warning}")


def _processor_name() -> str:
    """What PyTorch calls the processor; empty in versions of PyTorch that do not say."""
    capabilities: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return str(capabilities().get("cpu_name", ""))


def _plain(loss: Loss) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in loss.terms.items()}


def _non_finite(run: Run, step: int, loss: Loss, batch: object) -> NonFiniteLossError:
    """Build the error that names the step, the terms and the examples, and save these."""
    path, rows = save_nonfinite_dump(run.directory, step, run.processes.rank, loss, batch)
    terms = {name: float(value) for name, value in loss.terms.items()}
    shown = f", of rows {', '.join(map(str, rows[:8]))}{', ...' if len(rows) > 8 else ''}" if rows else ""
    remedy = f"look at {path.name}; lower train.optim.lr, or set train.precision to fp32"
    what = f"the loss is {loss.total.item()}, its terms {terms}{shown}"
    if torch.isfinite(loss.total):
        bad = [name for name, p in run.task.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        named = f"{', '.join(bad[:3])}{', ...' if len(bad) > 3 else ''}" if bad else "all together, which overflows"
        what = f"the gradient of {named} is not finite; {what}"
    return NonFiniteLossError(f"step {step}: {what}; {remedy}")


def checkpoint_activations(module: nn.Module) -> None:
    """Activation checkpointing: each trainable block keeps only its input and recomputes the rest in the backward pass.

    Results, gradients and parameter names stay the same; a step takes about a third longer.

    Source: Chen et al., "Training deep nets with sublinear memory cost", 2016.
    """
    for block in _learning_blocks(module):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]


def compile_blocks(module: nn.Module) -> None:
    """Compile every transformer block (``torch.compile``), once for each input shape; parameter names stay the same."""
    for block in _blocks(module):
        block.compile()


def _blocks(module: nn.Module) -> Iterator[Block]:
    return (part for part in module.modules() if isinstance(part, Block))


def _learning_blocks(module: nn.Module) -> Iterator[Block]:
    return (block for block in _blocks(module) if any(p.requires_grad for p in block.parameters()))
