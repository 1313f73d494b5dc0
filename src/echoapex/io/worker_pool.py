"""Pools of worker processes that end with their parent, however that ends, and clean up when they are told to stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Literal, TypeVar

Result = TypeVar("Result")

_TOLD_TO_STOP = 128 + signal.SIGTERM
_GRACE_S = 20.0
"""How long a worker whose parent is gone may take to leave: time to delete what it has half written."""


def new_pool(
    workers: int, method: Literal["spawn", "forkserver"], prepare: Callable[..., object] | None = None, *given: object
) -> ProcessPoolExecutor:
    """A pool of processes that leave Ctrl-C to their parent and end with it.

    Args:
        workers: processes.
        method: how they are started; never by fork, which threads of numerical libraries do not survive.
        prepare: called in each worker first, with ``given``.
        given: arguments of ``prepare``.
    """
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(prepare, given))


@contextmanager
def ended_on_error(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """The pool for a ``with`` block; when that is left by an error or interrupt, the workers are stopped at once."""
    try:
        yield pool
    except BaseException:
        stop_workers(pool)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def run_stoppable(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function in a worker: what to submit to a pool, so that a worker that was told to stop does not go on."""
    try:
        return function(*arguments)
    except SystemExit as error:
        if error.code != _TOLD_TO_STOP:
            raise
        os._exit(_TOLD_TO_STOP)  # everything is tidied up; the pool would hand this worker its next task


def stop_workers(pool: ProcessPoolExecutor) -> None:
    """Ask the workers to stop what they do; they delete what they have half written."""
    # a public way to do this comes with Python 3.14
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.terminate()


def stop_cleanly(*_: object) -> None:
    """What a worker does on SIGTERM: leave by an exception, so that open blocks tidy up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # tidying up must not be stopped
    sys.exit(_TOLD_TO_STOP)


def _begin(prepare: Callable[..., object] | None, given: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop_cleanly)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare(*given)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)  # the main thread tidies up
    threading.Event().wait(_GRACE_S)
    os._exit(1)
