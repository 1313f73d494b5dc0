"""Workers end with their parent and with the block that started them, and tidy up before."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from echoapex.io.processes import ended_on_error, new_pool, run_stoppable

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


def draw(folder: str) -> None:
    """Write half a file, and work on for ever; the half is removed when the work is stopped."""
    path = Path(folder) / f"{os.getpid()}.half"
    path.touch()
    try:
        while True:
            time.sleep(0.02)
    finally:
        path.unlink()


_PARENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins with interrupts ignored
sys.path.insert(0, sys.argv[2])
from io_worker_test import draw
from echoapex.io.processes import ended_on_error, new_pool, run_stoppable
if __name__ == "__main__":
    with ended_on_error(new_pool(2, "spawn")) as pool:
        futures = [pool.submit(run_stoppable, draw, sys.argv[1]) for _ in range(6)]
        futures[0].result()
"""


def _until(condition: Callable[[], bool]) -> bool:
    """Whether something becomes true; how soon depends on the machine, so the limit is generous."""
    for _ in range(1200):
        if condition():
            return True
        time.sleep(0.1)
    return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent_and_tidy_up(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "io_worker_test.py").write_text(Path(__file__).read_text())
    (tmp_path / "parent.py").write_text(_PARENT)
    halves = tmp_path / "halves"
    halves.mkdir()
    command = [sys.executable, str(tmp_path / "parent.py"), str(halves), str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:
        assert _until(lambda: len(list(halves.iterdir())) == 2)
        workers = [int(path.stem) for path in halves.iterdir()]
        parent.send_signal(number)
        parent.wait(timeout=120)

    assert _until(lambda: not any(map(_is_running, workers)))
    assert list(halves.iterdir()) == []


def test_an_error_in_the_block_stops_the_workers(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ended_on_error(new_pool(2, "forkserver")) as pool:
        for _ in range(5):
            pool.submit(run_stoppable, draw, str(tmp_path))
        assert _until(lambda: len(list(tmp_path.iterdir())) == 2)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_pool_prepares_its_workers() -> None:
    with ended_on_error(new_pool(1, "spawn", os.putenv, "ECHOAPEX_TEST", "x")) as pool:
        assert pool.submit(run_stoppable, abs, -3).result() == 3
