"""The numerical precision of a network: what the machine is fast at, unless it is set explicitly.

bf16 halves the cost of a matrix product where the processor supports it (AVX512-BF16, AMX, recent GPUs). Elsewhere bf16
is emulated and many times slower than fp32. So ``auto`` asks what the machine supports, and where that is not certain
it measures for a tenth of a second.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["auto", "bf16", "fp32"]
"""What may be asked for."""

_ROWS, _WIDTH = 256, 384
"""A product of the size that a small encoder is made of; emulated bf16 takes about 0.1 s for it at its slowest."""
_BUDGET_S = 0.05
_MOST_TURNS = 20
_WORTH_IT = 1.1
"""bf16 gives digits away; for less than a tenth of the time it does not."""
_ONEDNN_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


@dataclass(frozen=True)
class ChosenPrecision:
    """What was chosen and why, in words; ``warning`` where it was asked for and is slow here."""

    name: Literal["bf16", "fp32"]
    reason: str
    warning: str | None = None

    def autocast(self, device: torch.device | str) -> AbstractContextManager[object]:
        """Within the block, matrix products on ``device`` are in the chosen precision."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def choose_precision(wanted: Precision, device: torch.device | str = "cpu") -> ChosenPrecision:
    """The precision to compute in on a device.

    Args:
        wanted: ``auto``, or a precision to keep to; a bf16 that is slow here is kept and warned of.
        device: where it computes.
    """
    kind = torch.device(device).type
    if wanted == "fp32":
        return ChosenPrecision("fp32", "asked for")
    able = can_multiply_bf16(kind)
    if able:
        return ChosenPrecision("bf16", "asked for" if wanted == "bf16" else f"this {_noun(kind)} multiplies bf16")
    if able is False and wanted == "auto":
        return ChosenPrecision("fp32", f"this {_noun(kind)} cannot multiply bf16")
    ratio = measure_bf16_speed(kind)
    found = f"bf16 is {_times(ratio)} than fp32 on this {_noun(kind)} (measured)"
    if wanted == "bf16":
        slow = f"{found}; leave precision at auto, or set it to fp32"
        return ChosenPrecision("bf16", "asked for", slow if ratio < 1 else None)
    return ChosenPrecision("bf16" if ratio > _WORTH_IT else "fp32", found)


def can_multiply_bf16(kind: str) -> bool | None:
    """Whether a kind of device multiplies bf16 in its own units; ``None`` where only a measurement can tell.

    Args:
        kind: of device, as PyTorch names it: ``cpu``, ``cuda``, ``mps``.
    """
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu":
        return None if kind == "mps" and torch.amp.is_autocast_available(kind) else False
    able = torch.cpu.get_capabilities()
    if any(name in os.environ for name in _ONEDNN_LIMITS):
        return None
    if able.get("amx_bf16") or able.get("avx512_bf16"):
        return True
    # elsewhere oneDNN says that it supports bf16 wherever it can emulate it with wide vectors
    return None if torch.ops.mkldnn._is_mkldnn_bf16_supported() else False


@lru_cache(maxsize=8)
def measure_bf16_speed(kind: str) -> float:
    """How many times the speed of fp32 a matrix product has in bf16; a tenth of a second, once a process.

    Both take turns and the best turn of each counts; on a processor in its own time, so that a busy machine measures
    as an idle one.
    """
    left, right = torch.randn(_ROWS, _WIDTH, device=kind), torch.randn(_WIDTH, _WIDTH, device=kind)
    half = left.bfloat16(), right.bfloat16()
    try:
        seconds = [_seconds(*half), _seconds(left, right)]  # the first call also prepares the kernels
    except (RuntimeError, TypeError):  # a device that cannot do it at all
        return 0.0
    if seconds[0] < _BUDGET_S:
        seconds = [float("inf")] * 2
    began = time.perf_counter()
    for _ in range(_MOST_TURNS):
        seconds = [min(seconds[0], _seconds(*half)), min(seconds[1], _seconds(left, right))]
        if time.perf_counter() - began > _BUDGET_S:
            break
    return seconds[1] / seconds[0]


def _seconds(left: Tensor, right: Tensor) -> float:
    clock = time.process_time if left.device.type == "cpu" else time.perf_counter  # other programs do not count
    began = clock()
    product = left @ right
    if product.device.type != "cpu":
        torch.accelerator.synchronize()
    return max(clock() - began, 1e-9)


def _times(ratio: float) -> str:
    """A ratio of speeds as a person says it.

    >>> [_times(ratio) for ratio in (4.0, 0.02, 0.0)]
    ['4.0 times faster', '50.0 times slower', 'infinitely slower']
    """
    if ratio <= 0:
        return "infinitely slower"
    return f"{ratio:.1f} times faster" if ratio >= 1 else f"{1 / ratio:.1f} times slower"


def _noun(kind: str) -> str:
    return "processor" if kind == "cpu" else f"{kind} device"


class DeviceError(ValueError):
    """A device that this machine does not have; the message says which it has."""


def choose_device(name: str) -> torch.device:
    """The device called ``auto``, ``cpu``, ``cuda`` or ``mps``; ``auto`` takes the fastest there is.

    Raises:
        DeviceError: there is no such device here.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if present[kind]))
    if not present.get(name, False):
        have = ", ".join(kind for kind, there in present.items() if there)
        raise DeviceError(f"there is no device {name!r} here (there is: {have}); use --device auto")
    return torch.device(name)
