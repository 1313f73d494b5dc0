"""Sending survives lost peers and crashes between any two steps, and never sends twice what a peer has."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from counting_archive import CountingArchive
from node_workplace import Workplace

from echoapex.serve.jobs import JobKind
from echoapex.serve.ledger import SendState
from echoapex.serve.results import ResultMaker
from echoapex.serve.worker import AnalysisWork, JobLoop, TransferWork

Make = Callable[..., Workplace]


@pytest.fixture
def archive() -> Iterator[CountingArchive]:
    found = CountingArchive()
    yield found
    found.close()


class Sender:
    def __init__(self, workplace: Make, archive: CountingArchive, study: list[Path], **peer: Any) -> None:
        values = {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": archive.port, "timeout_s": 5, **peer}
        self.place = workplace(peers={"archive": values}, send_to=["archive"])
        self.place.have_results(study)
        self.parts = self.place.parts

    def send(self) -> None:
        work = TransferWork(self.parts, None)  # type: ignore[arg-type]
        loop = JobLoop(self.parts, (JobKind.SEND,), work.do, threading.Event())
        job = None
        while job is None:  # its wait is over soon
            job = self.parts.queue.claim("test/1-0", [JobKind.SEND])
        loop.do(job)

    @property
    def states(self) -> dict[str, int]:
        return self.place.send_states()


def test_each_result_is_sent_once(workplace: Make, archive: CountingArchive, small_study: list[Path]) -> None:
    archive.open()
    sender = Sender(workplace, archive, small_study)
    sender.send()
    assert sender.states == {SendState.SENT: 3}
    assert sorted(archive.received.values()) == [1, 1, 1]
    assert archive.queries == 0  # nothing was interrupted, so there was nothing to ask
    assert sender.parts.studies.counts() == {"done": 1}


def test_a_lost_peer_is_tried_again_then_waits_for_a_person(
    workplace: Make, archive: CountingArchive, small_study: list[Path]
) -> None:
    sender = Sender(workplace, archive, small_study)
    for _ in range(3):
        sender.send()
    (letter,) = sender.parts.queue.dead_letters()
    assert (letter.kind, letter.attempts, letter.reason) == (
        "send", 3, "archive: cannot be reached; check host, port and TLS",
    )  # fmt: skip
    assert sender.states == {SendState.PENDING: 3}
    archive.open()
    assert sender.parts.queue.retry([letter.id]) == 1
    sender.send()
    assert sender.states == {SendState.SENT: 3}
    assert sender.parts.studies.counts() == {"done": 1}


def test_a_peer_lost_after_it_kept_an_object_does_not_get_it_again(
    workplace: Make, archive: CountingArchive, small_study: list[Path]
) -> None:
    archive.open()
    archive.abort_after_keeping = True
    sender = Sender(workplace, archive, small_study)
    sender.send()
    assert sender.states == {SendState.STARTED: 1, SendState.PENDING: 2}
    sender.send()
    assert sender.states == {SendState.SENT: 3}
    assert sorted(archive.received.values()) == [1, 1, 1]
    assert archive.queries == 1


def test_a_peer_that_cannot_be_asked_gets_the_same_object(
    workplace: Make, archive: CountingArchive, small_study: list[Path]
) -> None:
    archive.open()
    archive.abort_after_keeping = True
    sender = Sender(workplace, archive, small_study, check=False)
    sender.send()
    sender.send()
    assert sorted(archive.received.values()) == [1, 1, 2]
    assert len(archive.kept) == 3


def test_a_refusal_for_now_is_tried_again(workplace: Make, archive: CountingArchive, small_study: list[Path]) -> None:
    archive.open()
    archive.statuses = [0xA700]
    sender = Sender(workplace, archive, small_study)
    sender.send()
    assert sender.states == {SendState.STARTED: 1, SendState.SENT: 2}
    sender.send()
    assert sender.states == {SendState.SENT: 3}
    assert sorted(archive.received.values()) == [1, 1, 2]


def test_a_refusal_for_good_is_a_dead_letter_and_the_rest_is_sent(
    workplace: Make, archive: CountingArchive, small_study: list[Path]
) -> None:
    archive.open()
    archive.statuses = [0xC123]
    sender = Sender(workplace, archive, small_study)
    sender.send()
    assert sender.states == {SendState.STARTED: 1, SendState.SENT: 2}
    (letter,) = sender.parts.queue.dead_letters()
    assert (letter.attempts, letter.reason) == (1, "archive: refused an object (0xC123)")
    assert sender.parts.studies.counts() == {"sending": 1}  # its files stay


def test_the_same_analysis_makes_the_same_objects(workplace: Make, small_study: list[Path]) -> None:
    place = workplace(analysis={"contours": "ed_es", "precision": "fp32"})
    place.take(small_study)
    place.parts.studies.settle(0)
    job = place.claim(JobKind.ANALYZE)
    study = place.parts.studies.input_of(job.study_uid)
    made = [
        sorted(one.sop_uid for one in ResultMaker(place.parts.config.analysis, folder).make(
            job.study_uid, study, lambda: None
        )[0])
        for folder in (place.parts.config.data, place.parts.config.data / "elsewhere")
    ]  # fmt: skip
    assert made[0] == made[1]
    assert len(set(made[0])) == 3


def test_an_analysis_that_is_told_to_stop_goes_back(workplace: Make, small_study: list[Path]) -> None:
    place = workplace(analysis={"contours": "ed_es", "precision": "fp32"}, peers={}, send_to=[])
    place.take(small_study)
    place.parts.studies.settle(0)
    stop = threading.Event()
    loop = JobLoop(place.parts, (JobKind.ANALYZE,), AnalysisWork(place.parts, stop).do, stop)
    job = place.claim(JobKind.ANALYZE)
    stop.set()
    loop.do(job)
    assert place.parts.queue.counts() == {("analyze", "ready"): 1}
    stop.clear()
    again = place.claim(JobKind.ANALYZE)
    assert again.attempts == 1
    loop.do(again)
    assert place.parts.queue.counts() == {("analyze", "done"): 1}
    assert place.parts.studies.counts() == {"done": 1}
    assert len(list((place.parts.config.data / "results").rglob("*.dcm"))) == 3
    assert not list((place.parts.config.data / "work").iterdir())
