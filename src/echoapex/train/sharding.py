"""Parameters divided over processes (FSDP2): each keeps a share of weights, gradients and moments.

What belongs together, a block for instance, is put together for the moment in which it is computed. Outside of that
every tensor is a ``DTensor``: whole in shape, a share in memory.

Source: Zhao et al., "PyTorch FSDP", 2023; ``torch.distributed.fsdp.fully_shard``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from echoapex.tasks.task import Task
from echoapex.train.distributed import DistributedError, Processes


def shard(task: Task, device: torch.device, processes: Processes) -> None:
    """Divide a task over the processes, in place. It must have the same weights in all of them.

    Raises:
        DistributedError: the task does not say what can be divided, or there is one process only.
    """
    units = task.sharding_units()
    if not units:
        raise DistributedError(f"{type(task).__name__} cannot be divided over processes; set train.parallel to ddp")
    if processes.count == 1:
        raise DistributedError("one process has nobody to share with; start several with torchrun, or use ddp")
    mesh = init_device_mesh(device.type, (processes.count,))
    # tokens are views of the encoder's output, and nothing is ever written into them
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module .* returned a view tensor")
    for unit in units:
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be divided; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def fitted(saved: Tensor, own: Tensor) -> Tensor:
    """A whole tensor, divided as ``own`` is."""
    if not isinstance(own, DTensor):
        return saved
    placed = saved.to(own.device)
    return distribute_tensor(placed, own.device_mesh, own.placements, src_data_rank=None)


@torch.no_grad()
def gather_into(plain: nn.Module | None, divided: nn.Module) -> None:
    """Put the whole weights and buffers of a divided module into a plain one of the same make.

    Every process takes part; those with ``None`` give their share and keep nothing.
    """
    parameters: Mapping[str, Tensor] = dict(divided.named_parameters())
    buffers: Mapping[str, Tensor] = dict(divided.named_buffers())
    targets: dict[str, Tensor] = {}
    if plain is not None:
        targets = {**dict(plain.named_parameters()), **dict(plain.named_buffers())}
    for name, tensor in {**parameters, **buffers}.items():
        value = whole(tensor)
        if name in targets:
            targets[name].copy_(value)
