"""Runs of learning on the disk, and the process of one: watched, ended, and never left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from echoapex.serve.page.learning_runs import RunFiles, RunProcess, RunState
from echoapex.serve.page.security import PageError
from echoapex.vocabulary import Application

SLEEPS = "import time; time.sleep(600)"


def test_runs_are_numbered_and_the_newest_comes_first(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "learning")
    assert files.all() == []
    names = [files.add(Application.SEGMENTATION, "open", {"clips": 3}).run for _ in range(3)]
    assert names == ["r0001", "r0002", "r0003"]
    assert [record.run for record in files.all()] == names[::-1]
    (tmp_path / "learning" / "r0002" / "run.json").write_text("{")
    assert [record.run for record in files.all()] == ["r0003", "r0001"], "a damaged record is left out"
    assert files.add(Application.SEGMENTATION, "open", {}).run == "r0004"
    with pytest.raises(PageError, match="there is no such run"):
        files.get("r0002")


def test_the_last_words_of_a_process_are_kept(tmp_path: Path) -> None:
    said = "import sys; sys.stderr.write('step 1 of 2\\nechoapex finetune: no room; make some\\n\\n'); sys.exit(2)"
    files = RunFiles(tmp_path)
    assert files.last_words("r0001") == ""
    process = RunProcess([sys.executable, "-c", said], files.place("r0001"))
    assert process.watch(lambda: False, lambda: None) == 2
    assert files.last_words("r0001") == "no room; make some"


def test_a_process_is_told_to_stop(tmp_path: Path) -> None:
    process = RunProcess([sys.executable, "-c", SLEEPS], tmp_path)
    assert process.watch(lambda: True, lambda: None) == -signal.SIGTERM


def test_a_process_does_not_outlive_whoever_watches_it(tmp_path: Path) -> None:
    process = RunProcess([sys.executable, "-c", SLEEPS], tmp_path)

    def tick() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        process.watch(lambda: False, tick)
    assert not Path(f"/proc/{process.pid}").exists()


def test_only_the_own_process_of_an_earlier_server_is_ended(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    record = files.add(Application.SEGMENTATION, "open", {})
    own = subprocess.Popen([sys.executable, "-c", SLEEPS, str(files.place(record.run))])
    other = subprocess.Popen([sys.executable, "-c", SLEEPS])
    try:
        files.end_orphan(record.model_copy(update={"state": RunState.RUNNING, "pid": other.pid}))
        assert other.poll() is None, "the number was given to another process"
        began = time.monotonic()
        # a zombie has no command line, so that it counts as ended before it is waited for
        files.end_orphan(record.model_copy(update={"state": RunState.RUNNING, "pid": own.pid}))
        assert own.wait(10) == -signal.SIGTERM
        assert time.monotonic() - began < 30
    finally:
        for process in (own, other):
            process.kill()
            process.wait()
