"""The node as a process: killed at any moment it loses no study and sends nothing twice; SIGTERM ends it in order.

Heavier runs: `NODE_SOAK_S=120 pytest tests/serve/test_service.py` also kills its worker, uses PostgreSQL, and kills the
node at random moments for so many seconds.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from counting_archive import CountingArchive
from node_process import RunningNode
from pydicom import dcmread
from real_peers import Orthanc, PostgresServer, dcmtk, free_port, store_with_dcmtk, until
from small_echo import write_small_study
from worklist_server import WorklistServerForTests

Start = Callable[..., Any]
RESULTS = 3
"""Objects of the small study: two reports and a segmentation."""
SOAK_S = float(os.environ.get("NODE_SOAK_S", "0"))
heavier = pytest.mark.skipif(not SOAK_S, reason="heavier: set NODE_SOAK_S to a number of seconds")


def archive_at(server: Orthanc, **more: Any) -> dict[str, Any]:
    peer = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": server.dicom_port, **more}
    return {"peers": {"archive": peer}, "send_to": ["archive"]}


def test_killed_while_it_receives_analyses_and_sends(node: Start, orthanc: Start, tmp_path: Path) -> None:
    """One node, three studies, three kills: every study gets its results, once."""
    server = orthanc()
    running: RunningNode = node(**archive_at(server))
    server.ask("/modalities/node", ["ECHOAPEX", "127.0.0.1", running.port], "PUT")  # or it refuses queries
    files = [write_small_study(tmp_path / "s", number)[0] for number in range(1, 4)]
    assert store_with_dcmtk(running.port, files[:2]).returncode == 0
    sending = threading.Thread(target=store_with_dcmtk, args=(running.port, files[2:]))
    sending.start()
    time.sleep(0.05)
    running.kill()  # while it receives
    sending.join()
    running.start()
    assert store_with_dcmtk(running.port, files).returncode == 0  # what the sender was not told is safe, it sends again
    claimed = "SELECT count(*) FROM jobs WHERE kind = 'analyze' AND state = 'claimed'"
    until(lambda: running.rows(claimed)[0][0], "an analysis runs")
    running.kill()  # while it analyses
    running.start()
    started = "SELECT count(*) FROM sends WHERE state != 'pending'"
    until(lambda: running.rows(started)[0][0], "it sends")
    running.kill()  # while it sends
    running.start()
    until(running.is_done, "all studies are done", 90)
    assert len(running.states()) == 3
    assert len(server.ask("/instances")) == server.stored_events() == 3 * RESULTS
    assert running.rows("SELECT count(*) FROM sends WHERE state = 'sent'")[0][0] == 3 * RESULTS
    log = running.log.read_text()
    assert "after a crash" in log
    for path in files:
        dataset = dcmread(path, stop_before_pixels=True)
        for secret in (dataset.StudyInstanceUID, dataset.PatientID, str(dataset.PatientName)):
            assert secret not in log
            assert secret not in running.ask("/metrics")
    assert "Traceback" not in log


@heavier
def test_killed_between_the_peers_taking_and_the_ledger(node: Start, small_study: list[Path]) -> None:
    """The archive has the object, the node dies before it hears so: the object is not sent again."""
    archive = CountingArchive()
    archive.open()
    running: RunningNode = node(
        peers={"archive": {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": archive.port}}, send_to=["archive"]
    )
    archive.before_answer = threading.Event()
    try:
        store_with_dcmtk(running.port, small_study)
        until(lambda: archive.kept, "the archive keeps the first object")
        running.kill()
        archive.before_answer.set()
        running.start()
        until(running.is_done, "the study is done")
    finally:
        archive.before_answer.set()
        archive.close()
    assert sorted(archive.received.values()) == [1] * RESULTS
    assert archive.queries == 1


def test_told_to_stop_it_returns_its_job_and_ends(node: Start, orthanc: Start, small_study: list[Path]) -> None:
    server = orthanc()
    running: RunningNode = node(**archive_at(server))
    store_with_dcmtk(running.port, small_study)
    claimed = "SELECT count(*) FROM jobs WHERE state = 'claimed'"
    until(lambda: running.rows(claimed)[0][0], "an analysis runs")
    below = psutil.Process(running.process.pid).children(recursive=True)
    assert running.stop() == 0
    assert not psutil.wait_procs(below, timeout=10)[1]
    assert running.rows(claimed)[0][0] == 0
    assert running.log.read_text().rstrip().endswith("stopped")
    running.start()
    until(running.is_done, "the study is done")
    assert len(server.ask("/instances")) == RESULTS
    second = running.command(str(running.file))
    assert second.returncode == 2 and "another node uses this data folder" in second.stderr
    assert running.ask("/health") == "ok\n"


@heavier
def test_a_worker_that_is_killed_is_started_again(node: Start, small_study: list[Path]) -> None:
    running: RunningNode = node()
    store_with_dcmtk(running.port, small_study)
    claimed = "SELECT count(*) FROM jobs WHERE state = 'claimed'"
    until(lambda: running.rows(claimed)[0][0], "an analysis runs")
    for worker in psutil.Process(running.process.pid).children(recursive=True):
        if "spawn_main" in " ".join(worker.cmdline()):
            worker.kill()
    until(running.is_done, "the study is done")
    assert running.rows("SELECT attempts FROM jobs")[0][0] == 2
    assert "it is started again" in running.log.read_text()


@heavier
def test_jobs_in_postgresql(node: Start, orthanc: Start, postgres: PostgresServer, tmp_path: Path) -> None:
    server = orthanc()
    settings = {**archive_at(server), "database": postgres.new_database()}
    settings["analysis"] = {"contours": "ed_es", "precision": "fp32", "workers": 2}
    running: RunningNode = node(**settings)
    files = [write_small_study(tmp_path / "s", number)[0] for number in range(1, 4)]
    assert store_with_dcmtk(running.port, files).returncode == 0
    until(lambda: 'echoapex_studies{state="done"} 3' in running.ask("/metrics"), "all studies are done", 60)
    assert len(server.ask("/instances")) == server.stored_events() == 3 * RESULTS
    assert not (running.config.data / "node.db").exists()


@heavier
def test_killed_at_random(node: Start, orthanc: Start, tmp_path: Path) -> None:
    server = orthanc()
    running: RunningNode = node(**archive_at(server))
    chance = random.Random(7)
    ends = time.monotonic() + SOAK_S
    server.ask("/modalities/node", ["ECHOAPEX", "127.0.0.1", running.port], "PUT")
    number = kills = 0
    while time.monotonic() < ends:
        number += 1
        files = write_small_study(tmp_path / "s", number)
        until(lambda files=files: store_with_dcmtk(running.port, files).returncode == 0, "the study is taken")
        time.sleep(chance.uniform(0.0, 8.0))
        if chance.random() < 0.7:
            running.kill()
            kills += 1
            running.start()
    until(running.is_done, "all studies are done", 60 + 10 * number)
    assert len(running.states()) == number
    assert len(server.ask("/instances")) == server.stored_events() == number * RESULTS
    assert kills > 0


def test_an_archive_routes_studies_here_and_gets_results_back(
    node: Start, orthanc: Start, small_study: list[Path]
) -> None:
    """The Lua script of the guide, in a real Orthanc; results that come back in a circle are not analysed."""
    guide = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "dicom-node.md").read_text(encoding="utf-8")
    script = guide.split("```lua\n")[1].split("```")[0]
    port = free_port()
    server = orthanc(lua=script, DicomModalities={"echoapex": ["ECHOAPEX", "127.0.0.1", port]})
    running: RunningNode = node(port=port, **archive_at(server))
    server.upload(small_study[0].parent)
    until(lambda: server.modalities() == ["SEG", "SR", "SR", "US"], "the results are in the archive", 60)
    time.sleep(4)  # the study was changed by the results: Orthanc calls it stable once more
    assert len(server.ask("/instances")) == 1 + RESULTS
    assert running.rows("SELECT count(*) FROM jobs WHERE kind = 'analyze'") == [(1,)]
    assert dcmtk("echoscu", "-aet", "SENDER", "-aec", "ECHOAPEX", "127.0.0.1", port).returncode == 0


def test_killed_while_it_does_a_workitem_of_a_worklist(node: Start, orthanc: Start, tmp_path: Path) -> None:
    """A kill after the claim: the workitem is claimed once, done once, and names what the archive has."""
    archive, worklist = orthanc(), WorklistServerForTests()
    (path,) = write_small_study(tmp_path / "s", 1)
    archive.upload(tmp_path / "s")
    step = worklist.schedule("1.2.826.0.1", str(dcmread(path, stop_before_pixels=True).StudyInstanceUID))
    web = {"url": f"{archive.url}/dicom-web"}
    settings = archive_at(archive)
    settings["peers"]["web"] = web
    settings["worklist"] = {"url": worklist.url, "station": "ECHOAPEX", "fetch_from": "web", "poll_s": 0.2}
    running: RunningNode = node(**settings)
    archive.ask("/modalities/node", ["ECHOAPEX", "127.0.0.1", running.port], "PUT")
    until(lambda: step.state == "IN PROGRESS", "the workitem is claimed")
    running.kill()
    running.start()
    until(lambda: step.state == "COMPLETED", "the workitem is completed", 90)
    worklist.close()
    assert (step.history.count("IN PROGRESS"), step.history.count("COMPLETED")) == (1, 1)
    named = [
        one.ReferencedSOPInstanceUID
        for output in step.data.UnifiedProcedureStepPerformedProcedureSequence[0].OutputInformationSequence
        for one in output.ReferencedSOPSequence
    ]
    held = [archive.ask(f"/instances/{one}/simplified-tags")["SOPInstanceUID"] for one in archive.ask("/instances")]
    assert len(named) == len(set(named)) == RESULTS
    assert set(named) <= set(held)
    log = running.log.read_text()
    assert "That must not be logged" not in log and str(step.data.SOPInstanceUID) not in log
    assert "Traceback" not in log
