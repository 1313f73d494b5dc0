"""Detects a failing run: a watched score has fallen for several validations in a row, or the loss is not finite.

The loss does not show a collapse of self-supervised learning; it may look better than ever. The rank of the features,
the entropy of the prototypes and the accuracy of a probe do show it. The rule uses only scores from the journal, so a
resumed run is judged like an uninterrupted one.

When the loss is not finite, the step, the loss terms and the batch are saved.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Literal

from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor

from echoapex.config import Config
from echoapex.tasks.task import Loss


class DriftError(RuntimeError):
    """A run was stopped because a watched score fell."""


class DriftGuardConfig(Config):
    """What is watched; nothing by default."""

    floors: dict[str, float] = Field(default_factory=dict)
    """Lowest accepted value of a score, by its name."""
    largest_drops: dict[str, float] = Field(default_factory=dict)
    """Largest accepted fall of a score below its best value so far, by its name."""
    patience: int = Field(default=2, ge=1)
    """Number of validations in a row in which the score must be too low."""
    on_drift: Literal["stop", "rollback"] = "stop"
    """End the run (``stop``), or return to the last validation without a fall and train on other batches from there."""
    most_rollbacks: int = Field(default=3, ge=1)
    """The run ends after this many rollbacks."""
    rate_after_rollback: float = Field(default=0.5, gt=0, le=1)
    """The learning rate is multiplied by this at every rollback."""


class Health(IntEnum):
    """State of a run by its latest validations; larger is worse."""

    GOOD = 0
    DOUBTFUL = 1
    """A score has fallen, but for fewer validations than ``patience``."""
    DRIFTED = 2


def judge(scores: Sequence[Mapping[str, float]], config: DriftGuardConfig) -> tuple[Health, str]:
    """The health of a run, and a description of the problem.

    Args:
        scores: of all validations so far, the latest last.
        config: what is watched.
    """
    problem = find_drift(scores, config)
    if problem is not None:
        return Health.DRIFTED, problem
    doubt = find_drift(scores, config.model_copy(update={"patience": 1}))
    return (Health.GOOD, "") if doubt is None else (Health.DOUBTFUL, doubt)


def find_drift(scores: Sequence[Mapping[str, float]], config: DriftGuardConfig) -> str | None:
    """Describes the problem in the latest validations; None if there is none.

    Args:
        scores: of all validations so far, the latest last; a score that was not measured cannot fall.
        config: what is watched.
    """
    for name, floor in config.floors.items():
        if _all_below(scores, name, floor, config.patience):
            return f"{name} was {_latest(scores, name, config.patience)}, below its floor of {floor:g}"
    for name, drop in config.largest_drops.items():
        best = max((entry[name] for entry in scores if name in entry), default=float("-inf"))
        if _all_below(scores, name, best - drop, config.patience):
            return f"{name} was {_latest(scores, name, config.patience)}, more than {drop:g} below its best, {best:g}"
    return None


def _all_below(scores: Sequence[Mapping[str, float]], name: str, limit: float, patience: int) -> bool:
    latest = [entry[name] for entry in scores[-patience:] if name in entry]
    return len(latest) == patience and all(value < limit for value in latest)


def _latest(scores: Sequence[Mapping[str, float]], name: str, patience: int) -> str:
    return ", ".join(f"{entry[name]:g}" for entry in scores[-patience:])


def save_nonfinite_dump(directory: Path, step: int, rank: int, loss: Loss, batch: object) -> tuple[Path, list[int]]:
    """Write ``non-finite-step-S-rank-R.json`` (step, terms, rows) and ``.safetensors`` (the tensors of the batch).

    Returns:
        The path of the JSON file, and the row numbers of the examples if the batch has them.
    """
    path = directory / f"non-finite-step-{step}-rank-{rank}.json"
    tensors = _tensors_of(batch)
    rows = [int(row) for row in tensors["rows"]] if "rows" in tensors else []
    terms = {name: float(value) for name, value in loss.terms.items()}
    found = {"step": step, "loss": loss.total.item(), "terms": terms, "rows": rows}
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path.with_suffix(".safetensors")
    )
    return path, rows


def _tensors_of(batch: object) -> dict[str, Tensor]:
    if not dataclasses.is_dataclass(batch):
        return {}
    values = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
