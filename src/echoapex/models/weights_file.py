"""Loads weights from a safetensors file into a module and names every mismatch. No code from a file can run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_SHOWN = 8


class WeightsError(ValueError):
    """Weights that do not fit; the message names the file, the tensors and the remedy."""


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file.

    Raises:
        WeightsError: the file is missing or is not a safetensors file.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: does not exist; check the path") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: is not a safetensors file ({error}); pickled checkpoints are not read, convert them first"
        ) from error
    return tensors


def load_weights(module: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Copy ``state`` into ``module``, all or nothing.

    Args:
        module: receives the weights, converted to its own precision.
        state: tensors by parameter name.
        source: where they come from, for the message.

    Raises:
        WeightsError: with one line each for missing, unexpected and wrongly shaped tensors.
    """
    expected = module.state_dict()
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    misshapen = [
        f"{name} is {tuple(state[name].shape)}, the model has {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    findings = {"missing": missing, "unexpected": unexpected, "wrong shape": misshapen}
    lines = [f"  {title}: {_shorten(names)}" for title, names in findings.items() if names]
    if lines:
        remedy = "build the model with the configuration that these weights were trained with"
        raise WeightsError("\n".join([f"{source}: the weights do not fit the model; {remedy}", *lines]))
    module.load_state_dict(dict(state), strict=True)


def _shorten(names: list[str]) -> str:
    """The first names, and how many more there are."""
    hidden = len(names) - _SHOWN
    return "; ".join(names[:_SHOWN]) + (f"; and {hidden} more" if hidden > 0 else "")
