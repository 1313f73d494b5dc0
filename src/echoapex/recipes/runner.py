"""A recipe from file to bundles: read, check every key, prepare, train, export.

Which kind of ``task`` section a recipe may have.
"""

from __future__ import annotations

import copy
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from pydantic import SerializeAsAny
from torch import nn

from echoapex.config import Config, ConfigError, build_config, merge, read_recipe
from echoapex.recipes.camus import CamusRecipe
from echoapex.recipes.dataset_task import DatasetSegmentationRecipe, DatasetViewsRecipe, DatasetWallsRecipe
from echoapex.recipes.ejection_fraction import DatasetEjectionFractionRecipe, EjectionFractionRecipe
from echoapex.recipes.joint import JointRecipe
from echoapex.recipes.multitask import MultiTaskRecipe
from echoapex.recipes.pretrain import PretrainRecipe
from echoapex.recipes.recipe import Progress, Provenance, TaskRecipe, Workload, Workspace, count_trainable
from echoapex.recipes.view_from_masks import ViewFromMasksRecipe
from echoapex.tasks.task import Loss, Task
from echoapex.train.checkpoint import CHECKPOINT_FILE, require_same_recipe
from echoapex.train.distributed import Processes, gather_into, joined_processes, shard
from echoapex.train.journal import JOURNAL_FILE, read_figures
from echoapex.train.trainer import MACHINE_FILE, Run, TrainConfig, checkpoint_activations, compile_blocks, train

TASK_KINDS: dict[str, type[TaskRecipe]] = {
    "camus_segmentation": CamusRecipe,
    "joint": JointRecipe,
    "multitask": MultiTaskRecipe,
    "dataset_views": DatasetViewsRecipe,
    "dataset_segmentation": DatasetSegmentationRecipe,
    "dataset_walls": DatasetWallsRecipe,
    "dataset_ejection_fraction": DatasetEjectionFractionRecipe,
    "ejection_fraction": EjectionFractionRecipe,
    "view_from_masks": ViewFromMasksRecipe,
    "pretrain": PretrainRecipe,
}

_HOW_NOT_WHAT = {"device", "parallel", "activation_checkpointing", "compile", "precision", "loader_workers", "minutes"}
"""Keys of ``train`` that may differ when a run goes on: they change where, how and how long at a time it computes, not
what."""
_LOGGING = {"log_every", "score_every", "checkpoint_every", "trackers"}
"""So may these: they change what is told and kept of a run, not what it learns."""


class Recipe(Config):
    """A complete, named run."""

    task: SerializeAsAny[TaskRecipe]
    provenance: Provenance
    train: TrainConfig

    def identity(self) -> dict[str, Any]:
        """All that a run must have in common with the one it goes on from."""
        content: dict[str, Any] = json.loads(
            self.model_dump_json(exclude={"provenance": True, "train": _HOW_NOT_WHAT | _LOGGING})
        )
        return content

    def for_its_length(self) -> Recipe:
        """The same with schedules as long as the run, where they have no length of their own."""
        return self.model_copy(update={"task": self.task.for_updates(self.train.steps)})


@dataclass(frozen=True)
class Reporting:
    """Whom a run tells what it is doing."""

    prepared: Progress = field(default=lambda what, done, total: None)
    stepped: Callable[[int, int, Loss], None] = field(default=lambda step, steps, loss: None)
    noted: Callable[[str], None] = field(default=lambda text: None)


def find_recipe(name_or_path: str) -> Path:
    """A recipe file by path, or one that ships with the package by name.

    Raises:
        ConfigError: there is no such recipe.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    folder = Path(str(resources.files("echoapex") / "recipes"))
    shipped = folder / f"{name_or_path}.yaml"
    if not shipped.exists():
        known = ", ".join(sorted(recipe.stem for recipe in folder.glob("*.yaml")))
        raise ConfigError(f"{name_or_path!r}: no such recipe; give a .yaml file or one of: {known}")
    return shipped


def build_recipe(values: Mapping[str, Any], source: str) -> Recipe:
    """Check a recipe; the kind of its task decides which keys the task section may have.

    Raises:
        ConfigError: one line per mistake.
    """
    section = values.get("task")
    kind = section.get("kind") if isinstance(section, Mapping) else None
    if kind not in TASK_KINDS:
        raise ConfigError(f"{source}: task.kind must be one of {', '.join(TASK_KINDS)}, not {kind!r}")
    task = build_config(TASK_KINDS[kind], dict(section), f"{source}: task") if isinstance(section, Mapping) else None
    return build_config(Recipe, {**values, "task": task}, source)


def finetune(
    recipe_name: str,
    overrides: Mapping[str, Any],
    directory: Path,
    workers: int = 1,
    reporting: Reporting | None = None,
    prepared: Path | None = None,
) -> dict[str, float]:
    """Run a recipe into ``directory`` and export its bundles to ``directory/bundles``; resumes by itself.

    With more ``train.steps`` than before a run goes on from where it is; what follows a schedule (learning rate, weight
    decay, the teacher's momentum) follows the longer one from there.

    ``train.minutes`` ends a run before its last step; its bundles are exported, and the same call goes on.

    Prepared data (``stores``, ``features``) lies in ``prepared``, by default ``directory.parent``: recipes share it.

    Of several processes that ``torchrun`` started, the first prepares data, writes and reports.

    Returns:
        The validation figures of the trained weights; in the other processes nothing.

    Raises:
        ConfigError: the recipe or an override has a mistake.
        DistributedError: the batches of this recipe cannot be divided among the processes.
        CheckpointError: ``directory`` holds the run of another recipe, or a damaged checkpoint.
        NonFiniteLossError: the loss or its gradient became infinite or NaN.
    """
    reporting = reporting or Reporting()
    path = find_recipe(recipe_name)
    recipe = build_recipe(merge(read_recipe(path), overrides), path.name)
    identity, recipe = recipe.identity(), recipe.for_its_length()
    if (directory / CHECKPOINT_FILE).exists():
        before = require_same_recipe(directory / CHECKPOINT_FILE, identity)
        if before is not None and before != recipe.train.steps:
            reporting.noted(f"extended from {before} to {recipe.train.steps} steps; schedules follow the longer run")
    with joined_processes(recipe.train.device) as processes:
        started, began = time.process_time(), time.monotonic()
        workspace = Workspace(prepared or directory.parent, workers, reporting.prepared)
        workload = _build(recipe, workspace, directory, processes)
        processes, plain = _prepare(workload.task, recipe.train, processes)
        torch.manual_seed(recipe.train.seed)
        run = Run(
            workload.task, workload.batches, workload.validation, workload.validation_batches, directory, identity,
            processes, reporting.noted, scores_start=True,
        )  # fmt: skip
        reached = train(run, recipe.train, reporting.stepped)
        if processes.sharded:
            gather_into(plain, workload.task)
        if not processes.is_first:
            return {}
    scores = read_figures(directory / JOURNAL_FILE).latest
    hours = (time.process_time() - started) / 3600
    _write_effort(directory, workload.task, recipe.train, time.monotonic() - began)
    known = _completed(recipe, scores, hours, processes, reached)
    recipe.task.export(plain or workload.task, directory / "bundles", known)
    return scores


def _prepare(task: Task, config: TrainConfig, processes: Processes) -> tuple[Processes, Task | None]:
    """Set a task up for memory, speed and several processes; of a divided one the first keeps a plain copy."""
    plain: Task | None = None
    if config.parallel == "fsdp":
        plain = copy.deepcopy(task) if processes.is_first else None
        device = torch.device(config.device)
        shard(task.to(device), device, processes)
        processes = replace(processes, sharded=True)
    if config.activation_checkpointing:
        checkpoint_activations(task)
    if config.compile:
        compile_blocks(task)
    return processes, plain


def _build(recipe: Recipe, workspace: Workspace, directory: Path, processes: Processes) -> Workload:
    """Write the recipe down and build its work; the first process prepares data before the others look for it."""
    if not processes.is_first:
        processes.wait()
    directory.mkdir(parents=True, exist_ok=True)
    if processes.is_first:
        (directory / "recipe.json").write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    torch.manual_seed(recipe.train.seed)
    workload = recipe.task.build(workspace)
    if processes.is_first:
        processes.wait()
    return workload


def _write_effort(directory: Path, task: Task, config: TrainConfig, seconds: float) -> None:
    """``effort.json``: what the run cost, of its last uninterrupted part."""
    of_encoder, beside = map(_parameters_of, task.encoder_and_adapter())
    effort = {
        "trainable_parameters": count_trainable(task),
        "encoder_parameters": of_encoder,
        "adapter_parameters": beside,
        "adapter_share_of_encoder": round(beside / of_encoder, 5) if beside and of_encoder else None,
        "seconds": round(seconds, 1),
        "peak_memory_mib": round(_peak_memory_bytes(config.device) / 2**20),
        "precision": _precision_of(directory),
    }
    (directory / "effort.json").write_text(json.dumps(effort, indent=2) + "\n", encoding="utf-8")


def _parameters_of(part: nn.Module | None) -> int | None:
    return None if part is None else sum(parameter.numel() for parameter in part.parameters())


def _precision_of(directory: Path) -> str | None:
    """In which precision the run computed, by what it wrote down at its start."""
    path = directory / MACHINE_FILE
    return str(json.loads(path.read_text(encoding="utf-8"))["precision"]) if path.exists() else None


def _peak_memory_bytes(device: str) -> int:
    """Most memory that this process has held; on a GPU, of that GPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _completed(
    recipe: Recipe, scores: Mapping[str, float], hours: float, processes: Processes, reached: int
) -> Provenance:
    """The provenance of the recipe with what the run knows: seed, cost and figures."""
    each = f" in each of {processes.count} processes" if processes.count > 1 else ""
    steps = f"{reached} of {recipe.train.steps}" if reached < recipe.train.steps else f"{reached}"
    cost = f"{steps} steps, {hours:.2f} CPU hours{each} in the last (uninterrupted) part of the run"
    metrics = {f"validation/{name}": value for name, value in scores.items()}
    return recipe.provenance.model_copy(update={"seed": recipe.train.seed, "cost": cost, "metrics": metrics})
