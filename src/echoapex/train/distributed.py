"""Several processes that learn as one: each takes its share of every batch, and gradients are averaged.

The model stays single-device code; ``torchrun`` starts the processes and tells them apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from echoapex.tasks.task import BatchSource, Loss, ShareableBatchSource


class DistributedError(ValueError):
    """A run that cannot be divided among processes; the message says why and what to do."""


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is; the first one also writes, scores and reports.

    ``sharded``: parameters are divided among them, so that all have to take part in whatever the model computes.
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
        """Whether this process is needed where the first one scores and saves."""
        return self.is_first or self.sharded

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.count > 1:
            distributed.barrier()

    def share_of(self, batches: BatchSource) -> BatchSource:
        """The part of every batch that this process learns from.

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
        """A module whose backward pass averages gradients over the processes, by buckets, while it still computes.

        A parameter that one process has no gradient for, since nothing in its share needs it, counts there as zero.
        """
        if self.count == 1 or self.sharded:  # FSDP averages them itself
            return module
        return DistributedDataParallel(
            module, broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
        )

    def largest_of(self, value: int) -> int:
        """The largest of the values that the processes hold."""
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
    """Join the processes that ``torchrun`` started; without it this process is the only one.

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
        distributed.destroy_process_group()


def _average(tensors: list[Tensor], count: int) -> None:
    """Replace tensors by their mean over the processes, in one message."""
    if not tensors:
        return
    message = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(message)
    message /= count
    first = 0
    for tensor in tensors:
        tensor.copy_(message[first : first + tensor.numel()].view_as(tensor))
        first += tensor.numel()
