"""The queue goes on where it stopped, splits results of several studies, and takes over what lies in a folder."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from page_client import PageClient
from small_echo import write_small_study

from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer
from echoapex.serve.dicom_client import PeerError
from echoapex.serve.page import found_studies
from echoapex.serve.page.work_queue import _Progress
from echoapex.vocabulary import View

Pages = Callable[..., PageClient]


def test_a_stopped_analysis_goes_on_with_what_is_done(
    page: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small_study(tmp_path / "studies", views=(View.PLAX, View.A2C, View.A4C))
    one_done = threading.Event()
    finished = _Progress.finished

    def tell(self: _Progress, name: str, outcome: str) -> None:
        finished(self, name, outcome)
        one_done.set()

    with monkeypatch.context() as patch:
        patch.setattr(_Progress, "finished", tell)
        first = page(studies=str(tmp_path / "studies"), own_process=True)
        assert one_done.wait(90)
        process = first.parts.queue.analysis.pid  # type: ignore[attr-defined]
        assert process is not None and Path(f"/proc/{process}").exists()
        first.parts.queue.stop()
    assert not Path(f"/proc/{process}").exists(), "it ends with the server"
    (row,) = first.get("/studies")["studies"]
    assert row["state"] == "queued"
    done = list((tmp_path / "state" / "results").glob("*/clips/*.json"))
    assert 1 <= len(done) <= 2, "the clip in work is finished, the next one is not begun"
    written = {path: path.stat().st_mtime_ns for path in done}
    again = page(studies=str(tmp_path / "studies"))
    (row,) = again.when_ready(1)
    assert row["clips_done"] == 3 and row["progress"] == 1
    assert {path: path.stat().st_mtime_ns for path in done} == written


@pytest.mark.parametrize("crashes", [1, 2])
def test_a_study_whose_process_is_killed_is_tried_once_more(
    page: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, crashes: int
) -> None:
    write_small_study(tmp_path / "studies", views=(View.PLAX,))
    found, processes = _Progress.found, []

    def kill(self: _Progress, clips: int) -> None:
        processes.append(opened[0].parts.queue.analysis.pid)
        if len(processes) <= crashes:
            os.kill(processes[-1], signal.SIGKILL)
        found(self, clips)

    monkeypatch.setattr(_Progress, "found", kill)
    opened = [page(own_process=True)]
    opened[0].upload(list((tmp_path / "studies").iterdir()))
    (row,) = opened[0].until(lambda rows: rows[0]["state"] in ("ready", "failed"), patience_s=120)
    assert len(set(processes)) == 2
    told = [record.getMessage() for record in caplog.records if "the process of analysis ended" in record.getMessage()]
    assert len(told) == crashes and all("SIGKILL" in line for line in told)
    if crashes == 1:
        assert (row["state"], row["clips_done"], row["progress"]) == ("ready", 1, 1)
    else:
        assert row["state"] == "failed" and "ended twice (it was ended by SIGKILL" in row["error"]


def test_each_study_of_a_folder_of_results_has_its_own_row(page: Pages, tmp_path: Path) -> None:
    files = [*write_small_study(tmp_path / "files", 1), *write_small_study(tmp_path / "files", 2, (View.A2C,))]
    models = NamedInterpreter(TaskInterpreter.load("phantom", "cpu", "fp32"), "phantom", "cpu")
    options = AnalysisOptions(overlays=False, contours="ed_es", precision="fp32")
    StudyAnalyzer(models, options).run(files, tmp_path / "studies" / "results")
    opened = page(studies=str(tmp_path / "studies"))
    rows = opened.when_ready(2)
    assert {tuple(row["views"]) for row in rows} == {("PLAX",), ("A2C",)}
    for row in rows:
        detail = opened.get(f"/studies/{row['study']}")
        assert [clip["view"] for clip in detail["clips"]] == list(row["views"])
        assert detail["values"] and all(
            value["id"].partition("@")[2] in ("", detail["clips"][0]["clip"]) for value in detail["values"]
        )
        assert {one["clip_id"] for value in detail["values"] for one in value["evidence"]} == {
            detail["clips"][0]["clip"]
        }
    again = page(studies=str(tmp_path / "studies"))
    assert {row["study"] for row in again.when_ready(2)} == {row["study"] for row in rows}


def test_results_that_name_files_are_not_taken_over(page: Pages, tmp_path: Path) -> None:
    files = write_small_study(tmp_path / "files")
    models = NamedInterpreter(TaskInterpreter.load("phantom", "cpu", "fp32"), "phantom", "cpu")
    options = AnalysisOptions(overlays=False, contours="ed_es", precision="fp32", keep_identifiers=True)
    StudyAnalyzer(models, options).run(files, tmp_path / "studies" / "results")
    (row,) = page(studies=str(tmp_path / "studies")).when_ready(1)
    assert row["state"] == "failed" and "--keep-identifiers" in row["error"]


def test_studies_of_one_archive_are_deleted_one_by_one_with_their_files(page: Pages, tmp_path: Path) -> None:
    files = [*write_small_study(tmp_path / "files", 1), *write_small_study(tmp_path / "files", 2, (View.A2C,))]
    (tmp_path / "both").mkdir()
    opened = page(contours="ed_es")
    opened.upload([("x/a.avi", b"RIFF\x10\x00\x00\x00AVI LIST")])  # a study of its own, which fails
    place = tmp_path / "state" / "inputs" / opened.when_ready(1)[0]["study"]
    for path in files:  # as an archive with clips of several kinds would lie there
        path.rename(place / path.name)
    opened.send("POST", f"/studies/{place.name}/retry")
    rows = opened.when_ready(2)
    assert {tuple(row["views"]) for row in rows} == {("PLAX",), ("A2C",)}
    results = tmp_path / "state" / "results" / place.name
    opened.send("DELETE", f"/studies/{place.name}", status=204)
    (left,) = opened.get("/studies")["studies"]
    assert results.is_dir() and opened.get(f"/studies/{left['study']}")["values"]
    opened.send("DELETE", f"/studies/{left['study']}", status=204)
    assert not results.exists() and not place.exists()
    assert not list((tmp_path / "state" / "results").iterdir())


def test_a_study_at_a_server_is_fetched_once(page: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def fetch(address: object, folder: Path) -> int:
        fetched.append(address)
        if len(fetched) == 1:
            raise PeerError("pacs: cannot be reached")
        return len(write_small_study(folder))

    monkeypatch.setattr(found_studies, "fetch_study", fetch)
    address = "dicomweb://127.0.0.1:8042/dicom-web/studies/1.2.3"
    opened = page(studies=address)
    opened.parts.queue.stop()
    assert opened.get("/studies")["total"] == 0
    assert list((tmp_path / "state" / "inputs").iterdir()) == []
    opened = page(studies=address)
    assert opened.when_ready(1)[0]["state"] == "ready"
    page(studies=address).when_ready(1)
    assert len(fetched) == 2
