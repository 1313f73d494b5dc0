"""Checkpoints that resume a run exactly: weights, optimiser moments and weight average in safetensors, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from echoapex.train.distributed import fitted, whole
from echoapex.train.optim import WeightAverage

CHECKPOINT_FILE = "checkpoint.safetensors"
GOOD_FILE = "good.safetensors"
"""The state at the last validation that the drift guard found good."""
_STEPS = "train.steps"


@dataclass(frozen=True)
class Position:
    """Where a run is: updates done, rollbacks so far, and the batches that the rollbacks skipped."""

    step: int = 0
    rollbacks: int = 0
    skipped: int = 0


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The parts of a run that change from step to step."""

    task: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage


class CheckpointError(ValueError):
    """A checkpoint that does not belong to this run or is damaged."""


def save_checkpoint(path: Path, parts: Checkpoint, at: Position, about: Mapping[str, str], write: bool = True) -> None:
    """Write the state of a position, atomically, and ``about`` the run: its ``recipe`` as JSON, its ``precision``.

    Of a run whose parameters are divided every process has to come here, and one of them to ``write``: the file holds
    whole tensors, and so fits any number of processes.
    """
    tensors = {f"task.{name}": value for name, value in _named_tensors(parts.task).items()}
    tensors |= {f"average.{name}": value for name, value in parts.average.state.items()}
    for number, state in parts.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
    gathered: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = whole(tensor)
        if write:
            gathered[name] = value.contiguous()  # no copy: as much memory as all of it would be taken and kept
    if not write:
        return
    partial = path.with_suffix(".partial")
    metadata = {name: str(value) for name, value in asdict(at).items()}
    metadata |= {**about, "format": "echoapex-checkpoint-2"}
    save_file(gathered, partial, metadata)
    partial.replace(path)


def load_checkpoint(path: Path, parts: Checkpoint, recipe: Mapping[str, Any]) -> Position:
    """Restore the state and return its position.

    Raises:
        CheckpointError: the checkpoint is damaged, was written by another recipe, or its tensors do not fit.
    """
    require_same_recipe(path, recipe)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    try:
        _load_task(parts.task, _below(tensors, "task."))
        parts.average.load(_below(tensors, "average."))
        _load_optimizer(parts.optimizer, _below(tensors, "optimizer."))
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{path}: does not fit this task ({str(error).splitlines()[0]})") from error
    return Position(**{item.name: int(metadata.get(item.name, "0")) for item in fields(Position)})


def require_same_recipe(path: Path, recipe: Mapping[str, Any]) -> int | None:
    """Refuse a checkpoint that another recipe wrote; only its header is read. More steps are the same recipe, extended.

    Returns:
        The steps that the run was to have when the checkpoint was written, if the recipe says so.

    Raises:
        CheckpointError: it is damaged, or was written by another recipe; names the keys that differ.
    """
    metadata = _read_metadata(path)
    try:
        saved = json.loads(metadata.get("recipe", ""))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: was written by an earlier version; use a new --out") from error
    own = json.loads(json.dumps(recipe, default=str))
    differing = differing_keys(saved, own)
    before, now = differing.pop(_STEPS, (None, None))
    if before is not None and now is not None and now < before:
        differing[_STEPS] = (before, now)
    if differing:
        first, (was, wanted) = next(iter(differing.items()))
        more = f"; also differ: {', '.join(list(differing)[1:6])}" if len(differing) > 1 else ""
        raise CheckpointError(
            f"{path}: was written by another recipe: {first} was {_short(was)} and is now {_short(wanted)}{more}; "
            "use a new --out, or the recipe that wrote it"
        )
    steps = saved.get("train", {}).get("steps") if isinstance(saved.get("train"), dict) else None
    return None if steps is None else int(steps)


def differing_keys(one: Any, other: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    """The keys by which two recipes differ, with both values; a key that one of them lacks is ``None`` there.

    >>> differing_keys({"train": {"lr": 1, "seed": 0}}, {"train": {"lr": 2, "seed": 0}})
    {'train.lr': (1, 2)}
    """
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return {} if one == other else {name: (one, other)}
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys((*one, *other)):
        found |= differing_keys(one.get(key), other.get(key), f"{name}.{key}" if name else str(key))
    return found


def read_precision(path: Path) -> Literal["bf16", "fp32"] | None:
    """The precision in which a checkpoint was computed, if it says so.

    Raises:
        CheckpointError: it is damaged.
    """
    found = _read_metadata(path).get("precision")
    return found if found in ("bf16", "fp32") else None  # type: ignore[return-value]


def _read_metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is damaged ({error}); delete it to start this run anew") from error


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, a shared one (an encoder that several tasks use) once."""
    return {name: p.detach() for name, p in module.named_parameters()} | dict(module.named_buffers())


@torch.no_grad()
def _load_task(module: nn.Module, saved: dict[str, Tensor]) -> None:
    own = _named_tensors(module)
    if set(own) != set(saved):
        raise KeyError(f"the checkpoint lacks or adds {sorted(set(own) ^ set(saved))[:3]}")
    for name, tensor in own.items():
        tensor.copy_(fitted(saved[name], tensor))


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load_optimizer(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in moments.items():
        number, key = name.split(".", 1)
        parameter = parameters[int(number)]
        own = value if value.shape != parameter.shape else fitted(value, parameter)
        state.setdefault(int(number), {})[key] = own
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
