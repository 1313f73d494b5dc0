"""Batches come in order whoever prepares them, none too many, and their errors are not swallowed."""

import threading

import pytest
from straight_line import PointSource

from echoapex.train.prefetch import prefetched


class Recorder:
    """Gives the step as its batch, and remembers who asked."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.threads: set[int] = set()

    def batch(self, step: int) -> int:
        self.steps.append(step)
        self.threads.add(threading.get_ident())
        return step


def test_every_step_gets_its_own_batch_once() -> None:
    source = Recorder()
    assert list(prefetched(source, 3, 9)) == [3, 4, 5, 6, 7, 8]
    assert source.steps == [3, 4, 5, 6, 7, 8]
    assert threading.get_ident() not in source.threads
    assert len(source.threads) == 1


def test_a_finished_run_prepares_nothing() -> None:
    source = Recorder()
    assert list(prefetched(source, 5, 5)) == []
    assert source.steps == []


def test_only_one_batch_is_prepared_ahead() -> None:
    source = Recorder()
    batches = prefetched(source, 0, 100)
    assert [next(batches), next(batches)] == [0, 1]
    batches.close()
    assert len(source.steps) <= 3


def test_an_error_of_the_source_reaches_the_loop() -> None:
    class Broken(PointSource):
        def batch(self, step: int) -> object:
            raise OSError(f"step {step}: the disk is gone")

    with pytest.raises(OSError, match="step 2: the disk is gone"):
        next(prefetched(Broken(), 2, 4))
