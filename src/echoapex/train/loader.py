"""Prepares the next batches while the model trains on the current one, in a thread or in several processes.

A batch depends on its step alone, so this changes when and where a batch is made, and nothing else.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import cv2
from torch.utils.data import DataLoader, Dataset

from echoapex.tasks.task import BatchSource

_MOST_WORKERS = 16
_AHEAD = 2
"""Batches that each process prepares ahead."""


def prefetched(batches: BatchSource, first: int, steps: int, workers: int = 0) -> Iterator[Any]:
    """The batches of steps ``first`` to ``steps`` - 1, in order.

    Args:
        batches: with ``workers`` it is copied into each of them, so it must be picklable.
        first: step of the first batch.
        steps: one more than the step of the last batch.
        workers: processes that prepare batches; 0: a thread of this one, one batch ahead.
    """
    if first >= steps:
        return iter(())
    return _by_thread(batches, first, steps) if workers == 0 else _by_processes(batches, first, steps, workers)


def workers_for(device: str, wanted: int | None) -> int:
    """How many processes prepare batches for a training process on a device.

    Args:
        device: a GPU waits for nobody, so all cores but one that its process has go to them; on a CPU the cores have
            other work, and a thread does.
        wanted: by the recipe; None: by the device.
    """
    if wanted is not None or not device.startswith("cuda"):
        return wanted or 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1))


def _by_thread(batches: BatchSource, first: int, steps: int) -> Iterator[Any]:
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(batches.batch, first)
        for step in range(first, steps):
            batch = coming.result()
            if step + 1 < steps:
                coming = thread.submit(batches.batch, step + 1)
            yield batch


def _by_processes(batches: BatchSource, first: int, steps: int, workers: int) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")  # the number was chosen
        loader = DataLoader(
            _Steps(batches),
            batch_size=None,
            sampler=range(first, steps),
            num_workers=workers,
            prefetch_factor=_AHEAD,
            collate_fn=_as_it_is,
            multiprocessing_context="forkserver",  # a forked process could not read a store, nor use a GPU
            worker_init_fn=_use_one_thread,
        )
        made = iter(loader)
    for batch in made:
        if isinstance(batch, _Failed):
            raise batch.error
        yield batch


class _Steps(Dataset[Any]):
    """Batches by step, as a ``DataLoader`` asks for them; an error is returned, not raised."""

    def __init__(self, batches: BatchSource) -> None:
        self._batches = batches

    def __getitem__(self, step: int) -> Any:
        try:
            return self._batches.batch(step)
        except Exception as error:  # the training process reports it
            return _Failed(error)


class _Failed:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _as_it_is(batch: Any) -> Any:
    return cast("Any", batch)


def _use_one_thread(worker: int) -> None:
    """Keep the image library of a worker to one thread, since there are many workers."""
    cv2.setNumThreads(1)
