"""Batches: the input of one training step, as tensors; which examples it has; and the next ones, made ahead.

All coordinates are in model pixels.

Which example comes next is a permutation that depends on nothing but the seed and the position. So a resumed run sees
exactly the examples that an uninterrupted run would have seen, on any number of processes.

The next batches are prepared while the model trains on the current one, in a thread or in several processes. A batch
depends on its step alone, so this changes when and where a batch is made, and nothing else.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Protocol, Self, cast, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

_SECOND = {"batch_axis": 1}
"""Examples lie along the second axis."""
_MOST_WORKERS = 16
_AHEAD = 2
"""Batches that each process prepares ahead."""


class _Batch:
    """Tensors that move to a device together and can be divided into smaller batches."""

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self)}  # type: ignore[arg-type]
        return type(self)(**moved)

    def __len__(self) -> int:
        """Number of examples."""
        first = fields(self)[0]  # type: ignore[arg-type]
        return int(getattr(self, first.name).shape[first.metadata.get("batch_axis", 0)])

    def split(self, parts: int) -> list[Self]:
        """The batch in ``parts`` of equal size, in order.

        Raises:
            ValueError: it cannot be divided evenly.
        """
        chunks: dict[str, tuple[Tensor, ...]] = {}
        for f in fields(self):  # type: ignore[arg-type]
            tensor, axis = getattr(self, f.name), f.metadata.get("batch_axis", 0)
            if tensor.shape[axis] % parts:
                raise ValueError(
                    f"a batch of {tensor.shape[axis]} cannot be divided into {parts} equal parts; "
                    "change train.accumulate or the batch size"
                )
            chunks[f.name] = tensor.chunk(parts, dim=axis)
        return [type(self)(**{name: chunk[part] for name, chunk in chunks.items()}) for part in range(parts)]


@dataclass(frozen=True, eq=False)
class FrameBatch(_Batch):
    """Single frames of any view with the labels that are known.

    Attributes:
        pixels: prepared grey frames.
        view: index into ``View``; -1 unknown.
        labels: ``Structure`` label maps; meaningful where ``structure_known``.
        structure_known: per structure (column ``Structure`` value - 1) whether its label is complete.
        wall_points: x and y of the four wall end points in model pixels, ``WallPoint`` order.
        has_walls: whether the wall points are given.
        clip: number of the clip that a frame belongs to, counted within the batch.
        relative_volume: LV volume over EDV; NaN unknown.
        origin: number of the source that a frame comes from, in a batch of several.
    """

    pixels: UInt8[Tensor, "batch size size"]
    view: Int[Tensor, "batch"]
    labels: UInt8[Tensor, "batch size size"]
    structure_known: Bool[Tensor, "batch structures"]
    wall_points: Float[Tensor, "batch 4 2"]
    has_walls: Bool[Tensor, "batch"]
    clip: Int[Tensor, "batch"]
    relative_volume: Float[Tensor, "batch"]
    origin: Int[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class MaskMapBatch(_Batch):
    """Mask maps of single frames, as the automatic segmentation drew them.

    Attributes:
        maps: probability of each structure in every cell.
        overlap: predicted IoU of each mask with the truth.
        appearance: logits of the views from the pooled tokens of the same frames.
        view: index into ``View``.
    """

    maps: Float[Tensor, "batch structures side side"]
    overlap: Float[Tensor, "batch structures"]
    appearance: Float[Tensor, "batch views"]
    view: Int[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class EncodedClipBatch(_Batch):
    """Clips as patch features of a frozen encoder, with the true ejection fraction.

    Attributes:
        patches: features of every frame.
        times_s: frame times from the first frame.
        frame_mask: False for padding.
        ef_percent: NaN where unknown.
        relative_volume: LV volume over EDV per frame; NaN where unknown.
    """

    patches: Float[Tensor, "batch frames patches width"]
    times_s: Float[Tensor, "batch frames"]
    frame_mask: Bool[Tensor, "batch frames"]
    ef_percent: Float[Tensor, "batch"]
    relative_volume: Float[Tensor, "batch frames"]


@dataclass(frozen=True, eq=False)
class PixelClipBatch(_Batch):
    """Clips as frames, for an encoder that learns together with its decoder; labels as in :class:`EncodedClipBatch`."""

    pixels: UInt8[Tensor, "batch frames size size"]
    times_s: Float[Tensor, "batch frames"]
    frame_mask: Bool[Tensor, "batch frames"]
    ef_percent: Float[Tensor, "batch"]
    relative_volume: Float[Tensor, "batch frames"]


@dataclass(frozen=True, eq=False)
class CropBatch(_Batch):
    """Crops of frames without labels, for pretraining.

    Attributes:
        global_crops: large windows of each frame.
        local_crops: small windows of each frame.
        masked: True for the patches of the global crops that are masked for the student, in row-major order.
        rows: numbers of the frames in their source.
    """

    global_crops: UInt8[Tensor, "globals batch side side"] = field(metadata=_SECOND)
    local_crops: UInt8[Tensor, "locals batch small_side small_side"] = field(metadata=_SECOND)
    masked: Bool[Tensor, "globals batch patches"] = field(metadata=_SECOND)
    rows: Int[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class ProbeBatch(_Batch):
    """Whole frames on which an encoder is evaluated during pretraining.

    Attributes:
        pixels: prepared grey frames.
        view: index into ``View``; -1 unknown.
        clip: number of the clip that a frame belongs to.
    """

    pixels: UInt8[Tensor, "batch size size"]
    view: Int[Tensor, "batch"]
    clip: Int[Tensor, "batch"]


@lru_cache(maxsize=16)
def _permutation(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return tuple(int(i) for i in order)


def shuffled_index(seed: int, position: int, count: int) -> int:
    """The example at ``position`` of an endless sequence of shuffled epochs over ``count`` examples.

    Raises:
        ValueError: there is no example.
    """
    if count < 1:
        raise ValueError("cannot sample from an empty set")
    epoch, within = divmod(position, count)
    return _permutation(seed, epoch, count)[within]


def balanced_example(seed: int, position: int, groups: Sequence[Sequence[int]]) -> int:
    """The example at ``position`` when groups (for example views) alternate and each group is shuffled by itself.

    Every window of ``len(groups)`` positions visits each group once, in an order that changes from window to window.

    Raises:
        ValueError: there is no group, or a group is empty.
    """
    if not groups:
        raise ValueError("cannot sample from an empty set of groups")
    window, within = divmod(position, len(groups))
    group_number = _permutation(seed, window, len(groups))[within]
    group = groups[group_number]
    return int(group[shuffled_index(seed + 7919 * (group_number + 1), window, len(group))])


def scattered_index(seed: int, position: int, count: int) -> int:
    """Like :func:`shuffled_index`, but without a table, for stores of many millions of examples.

    Every epoch is a keyed permutation: a Feistel network on the smallest even number of bits that holds ``count``,
    walked until it lands inside.

    Source: Black and Rogaway, "Ciphers with arbitrary finite domains", 2002 (cycle walking).

    Raises:
        ValueError: there is no example.
    """
    if count < 1:
        raise ValueError("cannot sample from an empty set")
    epoch, index = divmod(position, count)
    half_bits = max(1, -(-(count - 1).bit_length() // 2))
    keys = _round_keys(seed, epoch)
    while True:
        index = _feistel(index, keys, half_bits)
        if index < count:
            return index


@lru_cache(maxsize=16)
def _round_keys(seed: int, epoch: int) -> tuple[int, ...]:
    keys = np.random.default_rng([seed, epoch, 4099]).integers(0, 1 << 62, size=6)
    return tuple(int(key) for key in keys)


def _feistel(index: int, keys: Sequence[int], half_bits: int) -> int:
    mask = (1 << half_bits) - 1
    left, right = index >> half_bits, index & mask
    for key in keys:
        mixed = ((right + 1) * 0x9E3779B97F4A7C15 ^ key) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        left, right = right, left ^ (mixed ^ mixed >> 29) >> 7 & mask
    return left << half_bits | right


def own_places(size: int, rank: int, count: int, key: str) -> range:
    """The positions in a batch of ``size`` for process ``rank`` of ``count``; all processes together cover the batch.

    >>> own_places(6, 1, 3, "task.frames.batch_size")
    range(2, 4)

    Raises:
        ValueError: the batch cannot be divided evenly; the message names ``key``, the recipe key to change.
    """
    if size % count:
        raise ValueError(
            f"a batch of {size} frames or clips cannot be divided evenly among {count} processes; "
            f"make {key} a multiple of {count}"
        )
    own = size // count
    return range(rank * own, (rank + 1) * own)


class BatchSource(Protocol):
    """Gives the batch of a step; the same step always gives the same batch, so a resumed run is exact."""

    def batch(self, step: int) -> Any:
        """The batch of ``step``, counted from 0."""


@runtime_checkable
class ShareableBatchSource(BatchSource, Protocol):
    """Batches that can be divided among several processes."""

    def share(self, rank: int, count: int) -> BatchSource:
        """The part of every batch that belongs to process ``rank`` of ``count``; all parts together are the batch.

        Raises:
            ValueError: a batch cannot be divided evenly.
        """


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
