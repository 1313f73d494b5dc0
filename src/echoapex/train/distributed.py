"""Several processes train as one: each takes a part of every batch, and gradients are averaged.

The model stays single-device code; ``torchrun`` starts the processes and gives each its rank.

With FSDP2 the parameters are sharded too: each process keeps a part of weights, gradients and moments. A unit, for
example a block, is gathered only while it is computed. Otherwise every tensor is a ``DTensor``: it has the shape of the
whole, and memory for its part.

Source: Zhao et al., "PyTorch FSDP", 2023; ``torch.distributed.fsdp.fully_shard``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from echoapex.data.batch import BatchSource, ShareableBatchSource
from echoapex.tasks.task import Loss, Task

_left_groups: list[distributed.ProcessGroup] = []
"""Groups that this process has left, kept until it ends.

The destructor of a group waits for its threads, and they may wait for the interpreter's lock. It must not run when a
module that averages gradients dies, because that module's destructor holds the lock.
"""


class DistributedError(ValueError):
    """A run cannot be divided among processes; the message says why and what to do."""


@dataclass(frozen=True)
class Processes:
    """Rank of this process and number of processes; the first one also writes, scores and reports.

    ``sharded``: parameters are divided among the processes, so all of them take part in every computation.
    """

    rank: int = 0
    count: int = 1
    sharded: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def takes_part(self) -> bool:
        """Whether this process must take part when the first one scores and saves."""
        return self.is_first or self.sharded

    def wait(self) -> None:
        """Return when every process has called this."""
        if self.count > 1:
            distributed.barrier()

    def share_of(self, batches: BatchSource) -> BatchSource:
        """The part of every batch on which this process trains.

        Raises:
            DistributedError: the batches cannot be divided, or not evenly.
        """
        if self.count == 1:
            return batches
        if not isinstance(batches, ShareableBatchSource):
            raise DistributedError(
                f"batches of {type(batches).__name__} cannot be shared among {self.count} processes; run one process"
            )
        try:
            return batches.share(self.rank, self.count)
        except ValueError as error:
            raise DistributedError(str(error)) from error

    def averaging(self, module: nn.Module) -> nn.Module:
        """A module whose backward pass averages gradients over the processes in buckets, while it still computes.

        A parameter without a gradient in one process, because its part of the batch does not need it, counts as zero.
        """
        if self.count == 1 or self.sharded:  # FSDP averages them itself
            return module
        return DistributedDataParallel(
            module, broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
        )

    def largest_of(self, value: int) -> int:
        """The maximum of a value over the processes."""
        if self.count == 1:
            return value
        message = torch.tensor(value, device="cuda" if distributed.get_backend() == "nccl" else "cpu")
        distributed.all_reduce(message, distributed.ReduceOp.MAX)
        return int(message)

    def mean_of(self, loss: Loss) -> Loss:
        """The loss over the whole batch, the same in every process, without a gradient."""
        if self.count == 1:
            return loss
        values = [loss.total.detach().clone(), *[value.detach().clone() for value in loss.terms.values()]]
        _average(values, self.count)
        return Loss(values[0], dict(zip(loss.terms, values[1:], strict=True)))


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started; without ``torchrun`` this process is the only one.

    Args:
        device: ``cuda`` gives each process the device of its local rank, and NCCL; all else goes over gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        yield Processes()
        return
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        if distributed.group.WORLD is not None:
            _left_groups.append(distributed.group.WORLD)
        distributed.destroy_process_group()


def _average(tensors: list[Tensor], count: int) -> None:
    """Replace tensors by their mean over the processes, in one all-reduce."""
    if not tensors:
        return
    message = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(message)
    message /= count
    first = 0
    for tensor in tensors:
        tensor.copy_(message[first : first + tensor.numel()].view_as(tensor))
        first += tensor.numel()


def shard(task: Task, device: torch.device, processes: Processes) -> None:
    """Shard a task over the processes, in place. It must have the same weights in all of them.

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
    """The whole of a tensor that may be sharded; every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def fitted(saved: Tensor, own: Tensor) -> Tensor:
    """A whole tensor, sharded as ``own`` is."""
    if not isinstance(own, DTensor):
        return saved
    placed = saved.to(own.device)
    return distribute_tensor(placed, own.device_mesh, own.placements, src_data_rank=None)


@torch.no_grad()
def gather_into(plain: nn.Module | None, divided: nn.Module) -> None:
    """Copy the whole weights and buffers of a sharded module into a plain module of the same architecture.

    Every process takes part; those with ``None`` only send their part.
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
