"""Run decoders in a separate process with limits, and pools of worker processes that end with their parent.

A damaged file can crash some decoders or keep them busy without end, so they run in a separate decoder process. Each
process that decodes keeps one such process, so a call costs only the transfer of its data. It is limited in memory, and
in processor time in proportion to the bytes to decode; processor time also works on a busy machine. If the decoder
process dies, the file is refused and the next call starts a new one.

The workers of a pool end when their parent ends, for whatever reason, and clean up when they are asked to stop.
"""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar, cast

from echoapex.io.clip_source import ReadError

Result = TypeVar("Result")

MEMORY_BYTES = 704 << 20
"""Memory that a decoder may allocate in addition to what its process uses at the start."""
BASE_SECONDS = 6.0
SECONDS_PER_MEBIBYTE = 10.0
"""Processor time for a call: the base, plus the time for each MiB to decode (real clips need about 1 s)."""

_AGAIN = "check that the file is whole, or export it again"
_LENGTH = struct.Struct("<Q")
_WALL_FACTOR, _WALL_MARGIN_S = 5.0, 60.0

_LOCK = threading.Lock()

_TOLD_TO_STOP = 128 + signal.SIGTERM
_GRACE_S = 20.0
"""Time that a worker has to end after its parent is gone, for deleting unfinished files."""


@dataclass(frozen=True)
class Task:
    """Description of a decoding task, for error messages and limits.

    Attributes:
        display_name: name of the file in the error.
        while_doing: what failed, as in "frame 3 cannot be decoded".
        payload_bytes: bytes to decode.
    """

    display_name: str
    while_doing: str
    payload_bytes: int

    @property
    def budget_s(self) -> float:
        """Processor time that the task may use, in seconds."""
        return BASE_SECONDS + SECONDS_PER_MEBIBYTE * self.payload_bytes / (1 << 20)


def run_apart(task: Task, function: Callable[..., Result], *arguments: object) -> Result:
    """Call a module-level function in the decoder process; function, arguments and result are pickled.

    Raises:
        ReadError: the function raised an error, exceeded its limits, or its process died. A ``ReadError`` of the
            function is passed on unchanged.
    """
    with _LOCK:
        process = _PROCESSES.get(os.getpid())
        if process is None or not process.is_alive:
            _PROCESSES.clear()  # a forked child must not use its parent's decoder process
            process = _PROCESSES[os.getpid()] = _DecoderProcess()
        return cast(Result, process.call(task, function, arguments))


def serve() -> None:
    """Main loop of the decoder process: answer calls until the parent is gone."""
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # text printed by a library must not mix with the answers
    _limit_memory()
    while (question := _receive(questions)) is not None:
        budget_s, function, arguments = cast("tuple[float, Callable[..., object], tuple[object, ...]]", question)
        _limit_time(budget_s)
        _send(answers, _answer(function, arguments))


def new_pool(
    workers: int, method: Literal["spawn", "forkserver"], prepare: Callable[..., object] | None = None, *given: object
) -> ProcessPoolExecutor:
    """Make a pool of processes that leave Ctrl-C to their parent and end with it.

    Args:
        workers: number of processes.
        method: how they are started; never by fork, which breaks the threads of numerical libraries.
        prepare: called first in each worker, with ``given``.
        given: arguments of ``prepare``.
    """
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(prepare, given))


@contextmanager
def ended_on_error(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """Use a pool in a ``with`` block; after an error or interrupt the workers are stopped at once."""
    try:
        yield pool
    except BaseException:
        stop_workers(pool)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def run_stoppable(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function in a worker; submit this to a pool, so that a worker that was asked to stop takes no new task."""
    try:
        return function(*arguments)
    except SystemExit as error:
        if error.code != _TOLD_TO_STOP:
            raise
        os._exit(_TOLD_TO_STOP)  # cleanup is done; the pool would give this worker its next task


def stop_workers(pool: ProcessPoolExecutor) -> None:
    """Ask the workers to stop; they delete their unfinished files."""
    # Python 3.14 adds a public way to do this
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.terminate()


def stop_cleanly(*_: object) -> None:
    """Handler for SIGTERM in a worker: raise an exception, so that open blocks clean up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # cleanup must not be interrupted
    sys.exit(_TOLD_TO_STOP)


class _DecoderProcess:
    """The decoder process, and the pipes to it."""

    def __init__(self) -> None:
        start = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders write complaints there, which may quote the file
            env={**os.environ, "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # the parent handles Ctrl-C
        )
        atexit.register(self.end)

    @property
    def is_alive(self) -> bool:
        """Whether the process can take another call."""
        return self._process.poll() is None

    def call(self, task: Task, function: Callable[..., object], arguments: tuple[object, ...]) -> object:
        """See :func:`run_apart`."""
        watch = threading.Timer(_WALL_FACTOR * task.budget_s + _WALL_MARGIN_S, self._process.kill)
        watch.daemon = True
        watch.start()
        try:
            _send(cast(BinaryIO, self._process.stdin), (task.budget_s, function, arguments))
            answer = _receive(cast(BinaryIO, self._process.stdout))
        except (OSError, EOFError):
            answer = None
        except BaseException:  # interrupted between question and answer: it cannot be used again
            self.end()
            raise
        finally:
            watch.cancel()
        if answer is None:
            self.end()
            raise ReadError(task.display_name, f"{task.while_doing} ({self._end_in_words()})", _AGAIN)
        is_result, value = cast("tuple[bool, object]", answer)
        if is_result:
            return value
        if isinstance(value, ReadError):
            raise value
        raise ReadError(task.display_name, f"{task.while_doing}{value}", _AGAIN)

    def end(self) -> None:
        """End the process now."""
        atexit.unregister(self.end)
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _end_in_words(self) -> str:
        code = self._process.returncode
        slow = {-getattr(signal, name) for name in ("SIGXCPU", "SIGKILL") if hasattr(signal, name)}
        return "its decoder took too long" if code in slow else "its decoder crashed"


_PROCESSES: dict[int, _DecoderProcess] = {}
"""The decoder process, by the ID of the process that uses it."""


def _send(pipe: BinaryIO, message: object) -> None:
    data = pickle.dumps(message, protocol=5)
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def _receive(pipe: BinaryIO) -> object:
    """The next message; None if the other side is gone."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    data = pipe.read(_LENGTH.unpack(head)[0])
    return pickle.loads(data)  # noqa: S301  (from our own process)


def _limit_memory() -> None:
    """Limit the address space, if the system supports it."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(budget_s: float) -> None:
    """Limit the processor time of the next call, if the system supports it; beyond it the process ends."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = math.ceil(used.ru_utime + used.ru_stime + budget_s)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _answer(function: Callable[..., object], arguments: tuple[object, ...]) -> tuple[bool, object]:
    try:
        return True, function(*arguments)
    except ReadError as error:
        return False, error
    except MemoryError:
        return False, " (it needs more memory than the limit)"
    except BaseException:  # panics of Rust decoders are not an Exception
        return False, ""


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
    os.kill(os.getpid(), signal.SIGTERM)  # the main thread cleans up
    threading.Event().wait(_GRACE_S)
    os._exit(1)
