"""What a run leaves behind when its loss is no longer a number: the step, the terms, and the batch that did it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from echoapex.tasks.task import Loss


def save_evidence(directory: Path, step: int, rank: int, loss: Loss, batch: object) -> tuple[Path, list[int]]:
    """Write ``non-finite-step-S-rank-R.json`` (step, terms, rows) and ``.safetensors`` (the tensors of the batch).

    Returns:
        The path of the JSON file, and the row numbers of the examples where the batch knows them.
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
