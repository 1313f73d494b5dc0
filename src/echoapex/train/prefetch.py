"""The next batch is prepared while the model learns from this one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from echoapex.tasks.task import BatchSource


def prefetched(batches: BatchSource, first: int, steps: int) -> Iterator[Any]:
    """The batches of steps ``first`` to ``steps`` - 1, in order; one is always being prepared ahead, in a thread.

    A batch depends on its step alone, so this changes when it is made and nothing else.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(batches.batch, first) if first < steps else None
        for step in range(first, steps):
            assert coming is not None
            batch = coming.result()
            coming = thread.submit(batches.batch, step + 1) if step + 1 < steps else None
            yield batch
