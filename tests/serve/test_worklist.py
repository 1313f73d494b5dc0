"""Workitems through the job queue: claimed once, finished once, whatever answer or process is lost in between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from counting_archive import CountingArchive
from node_workplace import Workplace
from pydicom import dcmread
from real_peers import until
from worklist_server import Step, WorklistServerForTests

from echoapex.serve.database import WORKITEMS
from echoapex.serve.jobs import JobKind, LostClaimError
from echoapex.serve.ledger import SendState
from echoapex.serve.worker import JobLoop, TransferWork
from echoapex.serve.worklist import WorklistPoller, WorklistWork

Make = Callable[..., Workplace]
UID = "1.2.826.0.1"


@pytest.fixture
def server() -> Iterator[WorklistServerForTests]:
    found = WorklistServerForTests()
    yield found
    found.close()


@pytest.fixture
def archive() -> Iterator[CountingArchive]:
    found = CountingArchive()
    found.open()
    yield found
    found.close()


class Performer:
    """The worklist part of a node, step by step, and the rest of the node as far as a step needs it."""

    def __init__(self, make: Make, server: WorklistServerForTests, port: int, **worklist: Any) -> None:
        peers = {
            "web": {"url": "http://127.0.0.1:9/dicom-web"},
            "archive": {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": port, "timeout_s": 5},
        }
        settings = {"url": server.url, "fetch_from": "web", "timeout_s": 2, **worklist}
        self.place = make(peers=peers, send_to=["archive"], worklist=settings)
        self.parts = self.place.parts
        assert self.parts.config.worklist
        self.poller = WorklistPoller(self.parts, self.parts.config.worklist)
        self.work = WorklistWork(self.parts, self.parts.config.worklist)
        self.stop = threading.Event()

    def step(self, work: Callable[[Any], None] | None = None) -> None:
        """Do the job of the next workitem, however long it has to wait."""
        job = until(lambda: self.parts.queue.claim("test/1-0", [JobKind.WORKITEM]), "a workitem is due")
        JobLoop(self.parts, (JobKind.WORKITEM,), work or self.work.do, self.stop).do(job)

    def send(self) -> None:
        job = until(lambda: self.parts.queue.claim("test/1-0", [JobKind.SEND]), "results are to be sent")
        JobLoop(self.parts, (JobKind.SEND,), TransferWork(self.parts, None).do, self.stop).do(job)  # type: ignore[arg-type]

    def fetch(self) -> None:
        with self.parts.queue.finishing(self.place.claim(JobKind.RETRIEVE)):
            pass

    @property
    def rows(self) -> list[tuple[str, str]]:
        with self.parts.database.read() as connection:
            found = connection.execute(sa.select(WORKITEMS.c.state, WORKITEMS.c.reason).order_by(WORKITEMS.c.uid))
            return [(state, reason) for state, reason in found]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echoapex.serve.worklist._LOOK_S", 0.0)


def study_of(files: list[Path]) -> str:
    return str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)


def scheduled(server: WorklistServerForTests, files: list[Path]) -> Step:
    return server.schedule(UID, study_of(files))


def test_from_the_search_to_completed_with_references_to_the_results(
    workplace: Make, server: WorklistServerForTests, archive: CountingArchive, small_study: list[Path]
) -> None:
    step = scheduled(server, small_study)
    node = Performer(workplace, server, archive.port)
    assert (node.poller.look(), node.poller.look()) == (1, 0)
    node.step()  # claims
    assert step.state == "IN PROGRESS"
    node.step()
    node.fetch()
    node.place.take(small_study)
    node.step()
    node.place.have_results(small_study)
    node.step()
    node.send()
    node.step()
    assert node.rows == [("completed", "")]
    assert step.history == [
        "IN PROGRESS", "0 fetching the study", "20 waiting until the study is complete",
        "90 sending results", "100 done", "COMPLETED",
    ]  # fmt: skip
    (performed,) = step.data.UnifiedProcedureStepPerformedProcedureSequence
    outputs = performed.OutputInformationSequence
    named = {one.ReferencedSOPInstanceUID for output in outputs for one in output.ReferencedSOPSequence}
    assert named == archive.kept and len(named) == 3
    assert {output.StudyInstanceUID for output in outputs} == {study_of(small_study)}
    assert {output.DICOMRetrievalSequence[0].RetrieveAETitle for output in outputs} == {"ARCHIVE"}
    assert len({output.SeriesInstanceUID for output in outputs}) == len(outputs) == 2
    assert performed.PerformedProcedureStepEndDateTime >= performed.PerformedProcedureStepStartDateTime
    assert node.poller.look() == 0


def test_an_answer_that_is_lost_at_any_moment_changes_nothing(
    workplace: Make, server: WorklistServerForTests, archive: CountingArchive, small_study: list[Path]
) -> None:
    """Each request in turn is done by the server, but the node does not learn of it and tries again."""
    node = Performer(workplace, server, archive.port)
    node.place.have_results(small_study)
    node.send()
    lost = 0
    for number in range(20):
        uid = f"1.2.3.{number}"
        step = server.schedule(uid, study_of(small_study))
        assert node.poller.look() == 1
        begin = len(server.requests)

        def lose(method: str, path: str, last: int = begin + number) -> bool:
            return len(server.requests) - 1 == last

        server.lose_answer = lose
        fetched = False
        while step.state != "COMPLETED" or node.rows[number][0] != "completed":
            node.step()
            if not fetched and node.rows[number][0] == "claimed":
                node.fetch()
                fetched = True
        assert (step.history.count("IN PROGRESS"), step.history.count("COMPLETED")) == (1, 1), number
        if len(server.requests) - begin <= number:  # the last request that there is was lost already
            break
        lost += 1
    assert lost == 3, "the claim, the results, the completion"
    assert node.rows == [("completed", "")] * (lost + 1)
    assert node.place.send_states() == {SendState.SENT: 3}, "nothing is sent twice"


def test_a_worker_that_dies_between_the_claim_and_its_note_has_claimed_it(
    workplace: Make, server: WorklistServerForTests, archive: CountingArchive, small_study: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    step = scheduled(server, small_study)
    node = Performer(workplace, server, archive.port)
    node.poller.look()

    def die(*_: object, **__: object) -> None:
        raise LostClaimError("as if the process had ended here")

    with monkeypatch.context() as patch:
        patch.setattr(node.work, "_write", die)
        node.step()
    assert (step.state, node.rows) == ("IN PROGRESS", [("found", "")])
    with node.parts.database.begin() as connection:  # the lease of the dead worker ends
        connection.execute(sa.text("UPDATE jobs SET lease_until = 0"))
    node.step()
    assert node.rows == [("claimed", "")]
    assert step.history.count("IN PROGRESS") == 1


def test_another_performer_was_first(
    workplace: Make, server: WorklistServerForTests, archive: CountingArchive, small_study: list[Path]
) -> None:
    step = scheduled(server, small_study)
    node = Performer(workplace, server, archive.port)
    node.poller.look()
    step.change_state("IN PROGRESS", "2.25.99")
    node.step()
    assert node.rows == [("lost", "another performer was first")]
    assert ("retrieve", "ready") not in node.parts.queue.counts()


def test_a_workitem_that_the_worklist_ended_is_let_go(
    workplace: Make, server: WorklistServerForTests, archive: CountingArchive, small_study: list[Path]
) -> None:
    step = scheduled(server, small_study)
    node = Performer(workplace, server, archive.port)
    node.poller.look()
    node.step()
    step.state = "CANCELED"
    node.step()
    assert node.rows == [("lost", "the worklist has ended it")]


@pytest.mark.parametrize(
    ("trouble", "reason", "code"),
    [
        ("not fetched", "the study could not be fetched", "110523"),
        ("no images", "the study has no ultrasound images", "110522"),
        ("analysis fails", "the analysis failed", "110513"),
        ("no results", "the analysis has no results", "110522"),
        ("refused", "no result could be sent", "110513"),
    ],
)
def test_what_cannot_be_done_is_canceled_with_its_reason(
    workplace: Make, server: WorklistServerForTests, archive: CountingArchive, small_study: list[Path],
    trouble: str, reason: str, code: str,
) -> None:  # fmt: skip
    step = scheduled(server, small_study)
    node = Performer(workplace, server, archive.port)
    queue = node.parts.queue
    node.poller.look()
    node.step()
    if trouble == "not fetched":
        queue.fail(node.place.claim(JobKind.RETRIEVE), "no such study", for_good=True)
    else:
        node.fetch()
    if trouble == "analysis fails":
        node.place.take(small_study)
        node.parts.studies.settle(0)
        queue.fail(node.place.claim(JobKind.ANALYZE), "internal error", for_good=True)
    if trouble == "no results":
        node.place = Workplace(node.parts, [])
        node.place.have_results(small_study)
    if trouble == "refused":
        archive.statuses = [0xC000] * 3
        node.place.have_results(small_study)
        node.send()
    node.step()
    assert node.rows == [("canceled", reason)]
    assert step.state == "CANCELED"
    (told,) = step.data.ProcedureStepProgressInformationSequence
    assert told.ReasonForCancellation == reason
    assert told.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == code


def test_a_node_takes_no_more_than_it_may_hold(
    workplace: Make, server: WorklistServerForTests, archive: CountingArchive
) -> None:
    for number in range(5):
        server.schedule(f"1.2.{number}", f"1.3.{number}")
    node = Performer(workplace, server, archive.port, most=2)
    assert (node.poller.look(), node.poller.look()) == (2, 0)
    assert len(server.requests) == 1, "nothing is asked as long as there is no room"
    for number in range(2):
        server.steps[f"1.2.{number}"].change_state("IN PROGRESS", "2.25.99")
        node.step()
    assert node.poller.look() == 2


def test_two_searches_at_once_write_a_workitem_down_once(
    workplace: Make, server: WorklistServerForTests, archive: CountingArchive
) -> None:
    for number in range(4):
        server.schedule(f"1.2.{number}", f"1.3.{number}")
    node = Performer(workplace, server, archive.port, most=100)
    found: list[int] = []
    searches = [threading.Thread(target=lambda: found.append(node.poller.look())) for _ in range(4)]
    for search in searches:
        search.start()
    for search in searches:
        search.join()
    assert sum(found) == len(node.rows) == 4
    assert node.parts.queue.counts() == {("workitem", "ready"): 4}


def test_a_worklist_that_is_lost_leads_to_a_dead_letter_that_a_person_can_retry(
    workplace: Make, server: WorklistServerForTests, archive: CountingArchive, small_study: list[Path]
) -> None:
    scheduled(server, small_study)
    node = Performer(workplace, server, archive.port)
    node.poller.look()
    server.lose_answer = lambda method, path: True
    for _ in range(3):
        node.step()
    (letter,) = node.parts.queue.dead_letters()
    assert letter.kind == "workitem" and letter.reason.startswith("worklist: cannot be reached or was lost")
    server.lose_answer = lambda method, path: False
    assert node.parts.queue.retry([letter.id]) == 1
    node.step()
    assert node.rows == [("claimed", "")]
