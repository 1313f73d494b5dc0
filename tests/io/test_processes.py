"""A decoder that crashes, never ends or wants all memory costs one file, not the run."""

import os
import pickle
import signal
import sys
import time

import numpy as np
import pytest

from echoapex.io import processes
from echoapex.io.clip_source import ReadError
from echoapex.io.processes import DecodingTask, run_apart

TASK = DecodingTask("clip 1", "frame 3 cannot be decoded", 0)
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory and time are Linux's")


def test_a_result_comes_back_whole() -> None:
    found = run_apart(TASK, np.arange, 100_000)
    assert np.array_equal(found, np.arange(100_000))


def test_one_process_serves_many_calls() -> None:
    assert run_apart(TASK, os.getpid) == run_apart(TASK, os.getpid) != os.getpid()


@pytest.mark.parametrize(
    ("function", "arguments"), [(os.abort, ()), (os._exit, (0,)), (sys.exit, (1,)), (int, ("no number",))]
)
def test_whatever_happens_there_is_a_read_error_here(function: object, arguments: tuple[object, ...]) -> None:
    with pytest.raises(ReadError) as caught:
        run_apart(TASK, function, *arguments)  # type: ignore[arg-type]

    assert caught.value.path == "clip 1"
    assert caught.value.reason.startswith("frame 3 cannot be decoded")
    assert "no number" not in str(caught.value)
    assert run_apart(TASK, abs, -2) == 2


def test_a_crash_is_called_one() -> None:
    with pytest.raises(ReadError, match="its decoder crashed"):
        run_apart(TASK, os.abort)


def test_a_refusal_comes_back_as_it_is() -> None:
    with pytest.raises(ReadError, match=r"^a\.dcm: is empty; export it again$"):
        run_apart(TASK, _refuse)


def _refuse() -> None:
    raise ReadError("a.dcm", "is empty", "export it again")


@LINUX
def test_an_endless_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "BASE_SECONDS", 1.0)

    with pytest.raises(ReadError, match="took too long"):
        run_apart(TASK, any, iter(int, 1))

    assert run_apart(TASK, abs, -2) == 2


def test_a_process_that_waits_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_WALL_MARGIN_S", 0.2)
    monkeypatch.setattr(processes, "_WALL_FACTOR", 0.0)

    with pytest.raises(ReadError, match="took too long"):
        run_apart(TASK, time.sleep, 3600)


@LINUX
def test_memory_is_bounded() -> None:
    with pytest.raises(ReadError, match="more memory than the limit"):
        run_apart(TASK, bytearray, 2 << 30)

    assert len(run_apart(TASK, bytearray, 1 << 20)) == 1 << 20


def test_more_bytes_have_more_time() -> None:
    assert DecodingTask("a", "b", 10 << 20).budget_s > 10 * SECONDS_FOR_TEN_MIB_OF_VIDEO


SECONDS_FOR_TEN_MIB_OF_VIDEO = 5.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_starts_its_own_process() -> None:
    parents = run_apart(TASK, os.getpid)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, pickle.dumps(run_apart(TASK, os.getpid)))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    assert pickle.loads(os.read(reading, 100)) != parents
    assert run_apart(TASK, os.getpid) == parents
