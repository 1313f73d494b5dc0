"""The client against a small UPS-RS server; and that server against the state table of the standard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from pydicom.dataset import Dataset
from worklist_server import JSON, WorklistServerForTests

from echoapex.serve.dicom_client import PeerError
from echoapex.serve.node_config import WorklistServer
from echoapex.serve.worklist_client import (
    CANCELED,
    COMPLETED,
    IN_PROGRESS,
    RefusedError,
    Workitem,
    WorklistClient,
    cancellation_of,
    progress_of,
)
from echoapex.vocabulary.codes import DISCONTINUED

MINE, OTHER = "2.25.1", "2.25.2"
DONE = {
    "PerformedStationNameCodeSequence": [Dataset()], "PerformedProcedureStepStartDateTime": "20260101120000",
    "PerformedWorkitemCodeSequence": [Dataset()], "PerformedProcedureStepEndDateTime": "20260101120100",
    "OutputInformationSequence": [Dataset()],
}  # fmt: skip


@pytest.fixture(params=[False, True], ids=["plain", "named"])
def server(request: pytest.FixtureRequest) -> Iterator[WorklistServerForTests]:
    found = WorklistServerForTests(named_transaction=request.param)
    yield found
    found.close()


@pytest.fixture
def client(server: WorklistServerForTests) -> WorklistClient:
    return client_of(server)


def client_of(server: WorklistServerForTests, **settings: Any) -> WorklistClient:
    named = server._named
    return WorklistClient(WorklistServer(url=server.url, fetch_from="web", named_transaction=named, **settings))


def performed() -> Dataset:
    item = Dataset()
    for keyword, value in DONE.items():
        if isinstance(value, list):
            value = [Dataset.from_json({"00080100": {"vr": "SH", "Value": ["x"]}})]
        setattr(item, keyword, value)
    changes = Dataset()
    changes.UnifiedProcedureStepPerformedProcedureSequence = [item]
    return changes


def test_only_what_is_scheduled_for_this_node_is_found(server: WorklistServerForTests) -> None:
    server.schedule("1.1", "1.2.1")
    server.schedule("1.2", "1.2.2", InputReadinessState="INCOMPLETE")
    server.schedule("1.3", "1.2.3", WorklistLabel="other")
    server.schedule("1.4", "1.2.4").state = "IN PROGRESS"
    server.schedule("1.5", "1.2.5", InputInformationSequence=[])
    server.schedule("1/../../6", "1.2.6")
    two = [Dataset(), Dataset()]
    two[0].StudyInstanceUID, two[1].StudyInstanceUID = "1.2.7", "1.2.8"
    server.schedule("1.7", "", InputInformationSequence=two)
    assert client_of(server, label="echo", station="ECHOAPEX").search(10) == [Workitem("1.1", "1.2.1")]
    assert [one.uid for one in client_of(server).search(10)] == ["1.1", "1.3"]
    assert client_of(server, station="ELSEWHERE").search(10) == []


def test_a_claimed_workitem_is_told_about_and_completed(server: WorklistServerForTests, client: WorklistClient) -> None:
    step = server.schedule("1.1", "1.2.1")
    assert client.claim("1.1", MINE)
    client.update("1.1", MINE, progress_of(30, "analysing"))
    client.update("1.1", MINE, performed())
    client.change_state("1.1", MINE, COMPLETED)
    client.change_state("1.1", MINE, COMPLETED)  # a warning, no failure
    assert step.history == ["IN PROGRESS", "30 analysing", "COMPLETED"]
    assert client.state_of("1.1") == "COMPLETED"
    assert client.state_of("1.9") == ""


def test_a_workitem_is_canceled_with_a_reason(server: WorklistServerForTests, client: WorklistClient) -> None:
    step = server.schedule("1.1", "1.2.1")
    assert client.claim("1.1", MINE)
    with pytest.raises(RefusedError):
        client.change_state("1.1", MINE, CANCELED)  # without the final state requirements
    client.update("1.1", MINE, cancellation_of("no images", DISCONTINUED))
    client.change_state("1.1", MINE, CANCELED)
    (told,) = step.data.ProcedureStepProgressInformationSequence
    assert told.ReasonForCancellation == "no images"
    assert told.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"


def test_two_performers_never_have_the_same_workitem(server: WorklistServerForTests, client: WorklistClient) -> None:
    server.schedule("1.1", "1.2.1")
    assert client_of(server).claim("1.1", OTHER)
    assert not client.claim("1.1", MINE)
    with pytest.raises(RefusedError):
        client.update("1.1", MINE, progress_of(1, "x"))
    assert server.steps["1.1"].transaction_uid == OTHER


def test_a_claim_whose_answer_was_lost_is_still_ours(server: WorklistServerForTests, client: WorklistClient) -> None:
    step = server.schedule("1.1", "1.2.1")
    server.lose_answer = lambda method, path: method == "PUT"
    with pytest.raises(PeerError, match="cannot be reached or was lost"):
        client.claim("1.1", MINE)
    assert step.state == IN_PROGRESS
    server.lose_answer = lambda method, path: False
    assert client.claim("1.1", MINE)
    assert step.history[0] == "IN PROGRESS" and step.history.count("IN PROGRESS") == 1


def test_a_workitem_that_was_canceled_meanwhile_cannot_be_claimed(
    server: WorklistServerForTests, client: WorklistClient
) -> None:
    server.schedule("1.1", "1.2.1")
    assert requests.post(f"{server.url}/workitems/1.1/cancelrequest", timeout=5).status_code == 202
    assert not client.claim("1.1", MINE)
    assert not client.claim("1.2", MINE)


@pytest.mark.parametrize(
    ("state", "wanted", "transaction_uid", "status"),
    [
        ("SCHEDULED", "IN PROGRESS", MINE, 200),
        ("SCHEDULED", "IN PROGRESS", "", 400),
        ("SCHEDULED", "COMPLETED", MINE, 409),
        ("SCHEDULED", "CANCELED", MINE, 409),
        ("SCHEDULED", "SCHEDULED", MINE, 400),
        ("IN PROGRESS", "IN PROGRESS", MINE, 409),
        ("IN PROGRESS", "IN PROGRESS", OTHER, 400),
        ("IN PROGRESS", "COMPLETED", MINE, 409),  # final state requirements are not met
        ("IN PROGRESS", "COMPLETED", OTHER, 400),
        ("IN PROGRESS", "CANCELED", "", 400),
        ("IN PROGRESS", "SCHEDULED", MINE, 400),
        ("COMPLETED", "COMPLETED", MINE, 200),
        ("COMPLETED", "CANCELED", MINE, 409),
        ("COMPLETED", "COMPLETED", OTHER, 400),
        ("CANCELED", "CANCELED", MINE, 200),
        ("CANCELED", "IN PROGRESS", MINE, 409),
        ("NONE", "IN PROGRESS", MINE, 404),
    ],
)
def test_the_server_keeps_the_state_table(
    server: WorklistServerForTests, state: str, wanted: str, transaction_uid: str, status: int
) -> None:
    """PS3.4 table CC.1.1-2 with the statuses of PS3.18 11.7.3; a client tested against less would prove little."""
    if state != "NONE":
        step = server.schedule("1.1", "1.2.1")
        step.state, step.transaction_uid = state, "" if state == "SCHEDULED" else MINE
    change = Dataset()
    change.ProcedureStepState, change.TransactionUID = wanted, transaction_uid
    body = json.dumps(change.to_json_dict())
    place = f"{server.url}/workitems/1.1/state"
    answer = requests.put(place, data=body, headers={"Content-Type": JSON}, timeout=5)
    assert answer.status_code == status
    if status == 200 and state == wanted:
        assert "already in the requested state" in answer.headers["Warning"]
    assert requests.put(place, data=body, timeout=5).status_code in (404, 415)


def test_the_server_never_shows_the_transaction_uid(server: WorklistServerForTests, client: WorklistClient) -> None:
    server.schedule("1.1", "1.2.1")
    assert client.claim("1.1", MINE)
    for place in ("", "/1.1"):
        assert MINE not in requests.get(f"{server.url}/workitems{place}", timeout=5).text


@pytest.mark.parametrize(("state", "status"), [("SCHEDULED", 400), ("COMPLETED", 400), ("CANCELED", 400)])
def test_the_server_takes_updates_from_the_performer_alone(
    server: WorklistServerForTests, client: WorklistClient, state: str, status: int
) -> None:
    step = server.schedule("1.1", "1.2.1")
    step.state, step.transaction_uid = state, MINE
    with pytest.raises(RefusedError, match=f"HTTP {status}"):
        client.update("1.1", MINE, progress_of(1, "x"))


def test_what_goes_wrong_is_one_line_without_names(server: WorklistServerForTests, client: WorklistClient) -> None:
    server.schedule("1.1", "1.2.1")
    server.close()
    with pytest.raises(PeerError) as caught:
        client.search(1)
    assert str(caught.value).startswith("worklist: cannot be reached or was lost")
    assert "1.2.1" not in str(caught.value)
