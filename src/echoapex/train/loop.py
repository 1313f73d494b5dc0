"""The training loop: batch, loss, gradient, update. It knows ``Task`` and never a particular task.

Everything random in a step is drawn from generators seeded by (seed, step, process), and the batch of a step depends on
the step alone; so k steps equal k/2 steps, a resume, and k/2 steps, bit for bit on CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from echoapex.config import Config
from echoapex.tasks.task import BatchSource, Loss, Task
from echoapex.train.average import WeightAverage
from echoapex.train.checkpoint import (
    CHECKPOINT_FILE,
    GOOD_FILE,
    Checkpoint,
    Position,
    load_checkpoint,
    save_checkpoint,
)
from echoapex.train.distributed import Processes
from echoapex.train.drift_guard import DriftError, DriftGuardConfig, Health, judge
from echoapex.train.evidence import save_evidence
from echoapex.train.journal import Clock, Journal
from echoapex.train.optim import OptimConfig, build_optimizer, learning_rate, set_learning_rate
from echoapex.train.prefetch import prefetched
from echoapex.train.trackers import Tracker, open_trackers

_SEEDS_PER_PROCESS = 1 << 40


class TrainConfig(Config):
    """How long and how to train."""

    steps: int = Field(ge=1)
    seed: int = 0
    accumulate: int = Field(default=1, ge=1)
    """Parts in which a batch is computed, for less memory; the update is that of the mean over the parts."""
    recompute: bool = False
    """Compute the activations of encoder blocks again in the backward pass, for less memory."""
    compile: bool = False
    """Compile the encoder's blocks; worth its minutes on a GPU."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Of several processes each holds all parameters (ddp), or a share of them (fsdp)."""
    precision: str = Field(default="bf16", pattern="^(bf16|fp32)$")
    average_decay: float = Field(default=0.998, ge=0, lt=1)
    checkpoint_every: int = Field(default=250, ge=1)
    score_every: int = Field(default=250, ge=1)
    log_every: int = Field(default=10, ge=1)
    device: str = "cpu"
    guard: DriftGuardConfig = DriftGuardConfig()
    """Which validation figures end the run, or take it back, when they fall."""
    trackers: tuple[Tracker, ...] | None = None
    """Who else is told what the journal is told; None: TensorBoard where it is installed."""
    optim: OptimConfig = OptimConfig()


class NonFiniteLossError(RuntimeError):
    """The loss is no longer a number; names the step and the terms."""


@dataclass(frozen=True, eq=False)
class Run:
    """What a training run works on: the task, its batches, validation batches, where it writes, and who takes part."""

    task: Task
    batches: BatchSource
    validation: BatchSource | None
    validation_batches: int
    directory: Path
    digest: str
    processes: Processes = field(default_factory=Processes)


def train(run: Run, config: TrainConfig, on_step: Callable[[int, Loss], None] = lambda step, loss: None) -> None:
    """Train to ``config.steps`` updates, resuming from ``checkpoint.safetensors`` when there is one.

    On return the task holds the averaged weights. Of several processes the first one writes, scores and reports.

    Raises:
        DistributedError: the batches cannot be divided among the processes.
        NonFiniteLossError: the loss became infinite or NaN; the last checkpoint is untouched.
        DriftError: a figure that is watched fell; the last checkpoint is untouched.
        TrackerError: a tracker that the recipe names is not installed.
    """
    task = run.task.to(torch.device(config.device))
    optimizer = build_optimizer(task, config.optim)
    parts = Checkpoint(task, optimizer, WeightAverage(task, config.average_decay))
    path = run.directory / CHECKPOINT_FILE
    at = load_checkpoint(path, parts, run.digest) if path.exists() else Position()
    with open_trackers(config.trackers if run.processes.is_first else (), run.directory, at.step) as trackers:
        journal = Journal(run.directory, at.step, trackers) if run.processes.is_first else None
        course = _Course(run, config, parts, run.processes.share_of(run.batches), journal, on_step)
        while (problem := course.go_on(at)) is not None:
            at = course.go_back(at, problem)
    with torch.no_grad():
        parameters = dict(task.named_parameters())
        for name, value in parts.average.state.items():
            parameters[name].copy_(value)
    task.eval()


@dataclass(eq=False)
class _Course:
    """The way from a position to the end of the run."""

    run: Run
    config: TrainConfig
    parts: Checkpoint
    batches: BatchSource
    journal: Journal | None
    on_step: Callable[[int, Loss], None]
    reached: int = 0

    def go_on(self, at: Position) -> str | None:
        """Update until the end, or until a watched figure fell and the run is to go back; says which."""
        run, config, optimizer, processes = self.run, self.config, self.parts.optimizer, self.run.processes
        task, device = run.task, torch.device(config.device)
        clock = Clock()
        for step, batch in enumerate(
            prefetched(self.batches, at.step + at.skipped, config.steps + at.skipped), start=at.step
        ):
            torch.manual_seed(config.seed * 1_000_003 + step + processes.rank * _SEEDS_PER_PROCESS)
            task.train()
            slowed = config.guard.rate_after_rewind**at.rewinds
            set_learning_rate(optimizer, slowed * learning_rate(step, config.steps, config.optim), step)
            placed = batch.to(device)
            loss = processes.mean_of(update(task, optimizer, placed, config, processes))
            if not torch.isfinite(loss.total):
                raise _non_finite(run, step, loss, placed)
            task.after_step(step)
            self.parts.average.update(task, step)
            self.reached = step + 1
            clock.count(len(batch) * processes.count)
            if self.journal is not None:
                self.on_step(step, loss)
                if step % config.log_every == 0:
                    self.journal.write(step, loss=loss.total.item(), **clock.read(), **_plain(loss))
            last = self.reached == config.steps
            if run.validation is not None and (last or self.reached % config.score_every == 0):
                problem = self._judge(at)
                if problem is not None:
                    return problem
            if processes.takes_part and (last or self.reached % config.checkpoint_every == 0):
                self._save(CHECKPOINT_FILE, replace(at, step=self.reached))
        return None

    def go_back(self, at: Position, problem: str) -> Position:
        """Take the last good state back, with the batches that come next and a lower learning rate."""
        good = load_checkpoint(self.run.directory / GOOD_FILE, self.parts, self.run.digest)
        skipped = at.skipped + self.reached - good.step
        back = Position(good.step, at.rewinds + 1, skipped)
        if self.run.processes.takes_part:
            self._save(CHECKPOINT_FILE, back)
        if self.journal is not None:
            self.journal.go_back(back.step, back.rewinds, problem)
        self.run.processes.wait()
        return back

    def _judge(self, at: Position) -> str | None:
        """Score, and compare with what is watched; every process comes to the same verdict."""
        guard, processes = self.config.guard, self.run.processes
        health, problem = Health.GOOD, ""
        if processes.takes_part:
            scores = score(self.run, self.parts.average, torch.device(self.config.device))
            if self.journal is not None:
                self.journal.write(self.reached - 1, scores=scores)
                health, problem = judge(self.journal.scores(), guard)
        health = Health(processes.largest_of(int(health)))
        if health is Health.DRIFTED:
            can_go_back = guard.on_drift == "rewind" and at.rewinds < guard.most_rewinds
            if can_go_back and (self.run.directory / GOOD_FILE).exists():
                return problem
            raise DriftError(f"{problem}; lower train.optim.lr and start anew, or change train.guard")
        if health is Health.GOOD and guard.on_drift == "rewind" and processes.takes_part:
            self._save(GOOD_FILE, replace(at, step=self.reached))
        return None

    def _save(self, name: str, at: Position) -> None:
        save_checkpoint(self.run.directory / name, self.parts, at, self.run.digest, self.run.processes.is_first)


def update(task: Task, optimizer: torch.optim.Optimizer, batch: Any, config: TrainConfig, processes: Processes) -> Loss:
    """One parameter update: forward and backward, part by part, average over the processes, clip, step."""
    optimizer.zero_grad(set_to_none=True)
    losses = []
    for part in batch.split(config.accumulate) if config.accumulate > 1 else [batch]:
        with _precision(config):
            loss = task.loss(part)
        (loss.total / config.accumulate).backward()  # type: ignore[no-untyped-call]
        losses.append(loss)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    processes.average_gradients(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, config.optim.clip_norm)
    optimizer.step()
    return losses[0] if len(losses) == 1 else _mean(losses)


def _mean(losses: list[Loss]) -> Loss:
    """The mean of the parts of a batch, without a gradient."""
    terms = {name: torch.stack([loss.terms[name] for loss in losses]).mean() for name in losses[0].terms}
    return Loss(torch.stack([loss.total.detach() for loss in losses]).mean(), terms)


@torch.no_grad()
def score(run: Run, average: WeightAverage, device: torch.device) -> dict[str, float]:
    """Mean validation figures of the averaged weights."""
    assert run.validation is not None
    run.task.eval()
    sums: dict[str, list[float]] = {}
    with average.applied_to(run.task):
        for number in range(run.validation_batches):
            for name, value in run.task.score(run.validation.batch(number).to(device)).items():
                sums.setdefault(name, []).append(value)
    return {name: round(sum(values) / len(values), 5) for name, values in sums.items()}


def _precision(config: TrainConfig) -> AbstractContextManager[object]:
    if config.precision == "bf16":
        return torch.autocast(torch.device(config.device).type, dtype=torch.bfloat16)
    return nullcontext()


def _plain(loss: Loss) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in loss.terms.items()}


def _non_finite(run: Run, step: int, loss: Loss, batch: object) -> NonFiniteLossError:
    """The error that names the step, the terms and the examples, which are saved as well."""
    path, rows = save_evidence(run.directory, step, run.processes.rank, loss, batch)
    terms = {name: float(value) for name, value in loss.terms.items()}
    shown = f", of rows {', '.join(map(str, rows[:8]))}{', ...' if len(rows) > 8 else ''}" if rows else ""
    remedy = f"look at {path.name}; lower train.optim.lr, or set train.precision to fp32"
    return NonFiniteLossError(f"step {step}: the loss is {loss.total.item()}, its terms {terms}{shown}; {remedy}")
