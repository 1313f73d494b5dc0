"""The whole way: same content whatever happens on it, and no identifier anywhere."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import lance
import numpy as np
import psutil
import pyarrow.fs
import pytest
from drawn_studies import draw_fan_clip, write_fan_clip, write_studies
from pydicom import dcmread
from stored_rows import all_bytes, file_rows, frame_rows
from synthetic_dicom import PATIENT_ID, STUDY_DATE, region, write_native
from synthetic_files import write_dicomdir, write_zip

from echoapex.data.ingest import ingest as ingest_module
from echoapex.data.ingest.ingest import IngestPlan, ingest
from echoapex.data.ingest.plan import IngestRules, Unit
from echoapex.data.ingest.unit_work import Outcome, Work
from echoapex.data.stores.frame_store import FrameStore
from echoapex.data.stores.place import StoreError
from echoapex.io.local_engine import InlineEngine, LocalEngine, LostUnit
from echoapex.io.pictures import open_video_writer

RULES = IngestRules(size=48)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five studies of two clips, a clip twice, a damaged file and a picture of something else."""
    folder = tmp_path_factory.mktemp("archive")
    write_studies(folder, range(1, 6), clips=2, frames=4)
    write_fan_clip(folder / "s9" / "again.dcm", draw_fan_clip(101, 4), 1, 2)
    whole = (folder / "s2" / "c0.dcm").read_bytes()
    (folder / "s2" / "cut.dcm").write_bytes(whole[:900])
    spectral = region((0, 0, 127, 127), RegionSpatialFormat=3, RegionDataType=3)
    write_native(folder / "s3" / "pw.dcm", draw_fan_clip(7, 2), "MONOCHROME2", SequenceOfUltrasoundRegions=[spectral])
    return folder


@pytest.fixture
def plan(archive: Path, tmp_path: Path) -> IngestPlan:
    key = tmp_path / "a.key"
    key.write_text("cd" * 32)
    return IngestPlan((archive,), tmp_path / "store", key, RULES)


@pytest.fixture
def whole(plan: IngestPlan, tmp_path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of an ingest that nothing happened to."""
    out = tmp_path / "whole"
    ingest(replace(plan, out=out), InlineEngine())
    return frame_rows(out), file_rows(out)


class Losing:
    """An engine whose workers die on one file; real ones have their own tests."""

    def __init__(self, file: str) -> None:
        self._file = file

    def run(self, work: Work, units: Iterable[Unit]) -> Iterator[tuple[Unit, Outcome]]:
        for unit in units:
            dies = any(file.file == self._file for file in unit.files)
            yield unit, LostUnit() if dies else work(unit)


def test_everything_is_counted_and_duplicates_go(plan: IngestPlan) -> None:
    summary = ingest(plan, InlineEngine())
    assert (summary.ingested, summary.set_aside, summary.rejected, summary.done_before) == (11, 1, 1, 0)
    assert summary.frames_kept == 44
    assert summary.equal_frames == 4  # s1/c1 and s9/again
    assert summary.frames_stored == len(frame_rows(str(plan.out))) == 40
    manifest = FrameStore(plan.out).manifest
    assert manifest["frames"] == 40
    assert manifest["files"] == {"ingested": 11, "rejected": 1, "set_aside": 1}
    assert sum(manifest["patients"].values()) == 5  # the copy is patient 1's as well
    assert manifest["clips"]["vendor"] == {"echoapex": 11}
    ledger = (Path(plan.out) / "ledger.csv").read_text().splitlines()
    assert len(ledger) == 3
    assert any("spectral Doppler" in line and "set_aside" in line for line in ledger)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(plan: IngestPlan, whole: Any, workers: int) -> None:
    ingest(plan, LocalEngine(workers))
    assert (frame_rows(str(plan.out)), file_rows(str(plan.out))) == whole


def test_again_is_done_at_once_but_rejected_files_are_tried_again(
    plan: IngestPlan, archive: Path, tmp_path: Path
) -> None:
    first = ingest(plan, InlineEngine())
    second = ingest(plan, InlineEngine())
    assert (second.done_before, second.rejected, second.frames_kept) == (12, 1, 0)
    assert second.frames_stored == first.frames_stored
    assert second.ingested == first.ingested
    cut, before = archive / "s2" / "cut.dcm", (archive / "s2" / "cut.dcm").read_bytes()
    try:
        write_fan_clip(cut, draw_fan_clip(77, 3), 2, 3)
        third = ingest(plan, InlineEngine())
    finally:
        cut.write_bytes(before)
    assert (third.rejected, third.frames_kept, third.frames_stored) == (0, 3, 43)
    assert len((Path(plan.out) / "ledger.csv").read_text().splitlines()) == 2


SCRIPT = """
import os, signal
from pathlib import Path
import psutil
from echoapex.data.ingest import ingest as module
from echoapex.io.local_engine import LocalEngine
from echoapex.data.ingest.plan import Unit
from echoapex.data.ingest.plan import IngestRules

module.COMMIT_FRAMES = 1

class Killer(module.SilentIngestObserver):
    done = 0
    def finished(self, files, frames):
        Killer.done += files
        if Killer.done >= {after}:
            pids = [process.pid for process in psutil.Process().children(recursive=True)]
            Path({pids!r}).write_text(" ".join(map(str, pids)))
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    plan = module.IngestPlan(({archive!r},), {out!r}, Path({key!r}), IngestRules(size=48))
    module.ingest(plan, LocalEngine(1), Killer())
"""


@pytest.mark.parametrize("after", [3, 9])
def test_killed_in_the_middle_nothing_is_lost_and_nothing_doubled(
    plan: IngestPlan, archive: Path, whole: Any, tmp_path: Path, after: int
) -> None:
    script = tmp_path / "killed.py"
    script.write_text(
        SCRIPT.format(
            after=after, archive=str(archive), out=str(plan.out), key=str(plan.key), pids=str(tmp_path / "pids")
        )
    )
    killed = subprocess.run([sys.executable, script], check=False, env={**os.environ}, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    workers = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert workers
    deadline = time.monotonic() + 10
    while any(map(_is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_alive, workers)), "workers outlive the process that they work for"
    stored = frame_rows(str(plan.out))
    assert 0 < len(stored) < len(whole[0])
    assert stored == whole[0][: len(stored)]
    summary = ingest(plan, InlineEngine())
    assert summary.done_before > 0
    assert (frame_rows(str(plan.out)), file_rows(str(plan.out))) == whole


def test_a_file_that_kills_its_workers_is_rejected_alone(plan: IngestPlan, whole: Any) -> None:
    culprit = next(row for row in whole[1] if row["outcome"] == "ingested" and row["clip"] == whole[0][0]["clip"])
    summary = ingest(plan, Losing(culprit["file"]))
    assert (summary.ingested, summary.rejected) == (10, 2)
    assert "each worker that read it died" in (Path(plan.out) / "ledger.csv").read_text()
    assert ingest(plan, InlineEngine()).ingested == 11
    stored = frame_rows(str(plan.out))
    assert sorted(row["pixels"] for row in stored) == sorted(row["pixels"] for row in whole[0])


@pytest.mark.parametrize("where", ["frames", "commit"])
def test_a_full_disk_stops_with_a_remedy_and_the_same_command_completes(
    plan: IngestPlan, whole: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(ingest_module, "COMMIT_FRAMES", 1)
    holder, name = (lance.fragment, "write_fragments") if where == "frames" else (lance.LanceDataset, "commit")
    real, calls = getattr(holder, name), []

    def filling(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise OSError("LanceError(IO): No space left on device (os error 28)")
        return real(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(StoreError, match=r"no space left.*same command"):
        patch.setattr(holder, name, filling)
        ingest(plan, InlineEngine())
    assert 0 < len(frame_rows(str(plan.out))) < len(whole[0])
    ingest(plan, InlineEngine())
    assert (frame_rows(str(plan.out)), file_rows(str(plan.out))) == whole


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files, as Linux can")
def test_a_real_write_error_is_no_fault_of_the_file(plan: IngestPlan) -> None:
    """The system refuses to make a file larger than some bytes; the error comes from Lance itself."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from echoapex.data.ingest import ingest as m\n"
        "from echoapex.io.local_engine import InlineEngine\n"
        "from echoapex.data.ingest.plan import IngestRules\n"
        "import lance\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        f"plan = m.IngestPlan(({str(plan.sources[0])!r},), {str(plan.out)!r}, Path({str(plan.key)!r}),"
        " IngestRules(size=48))\n"
        "try:\n    m.ingest(plan, InlineEngine())\n"
        "except ValueError as error:\n    sys.exit(f'said: {error}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120, env={**os.environ}
    )
    assert "said: the store cannot be written" in done.stderr
    assert not (Path(plan.out) / "ledger.csv").exists()
    assert ingest(plan, InlineEngine()).frames_stored == 40


def test_no_identifier_is_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "in" / "Quartz_Aurelia_19700203"
    folder.mkdir(parents=True)
    frames = np.repeat(draw_fan_clip(5)[..., None], 3, axis=-1)
    for frame in frames:
        cv2.putText(frame, "QUARTZ", (2, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 255), 1)
    planted = {
        "PatientBirthDate": "19700203",
        "AccessionNumber": "ACC998877",
        "ReferringPhysicianName": "Grimwald^Otto",
        "InstitutionName": "Saint Elsewhere",
        "ManufacturerModelName": "Unit of Grimwald",
        "Manufacturer": "Grimwald Devices",
        "TransducerData": "SN-QX55512",
        "StationName": "ROOM9GRIM",
    }
    regions = [region((0, 0, 127, 127))]
    path = write_native(folder / "Quartz.dcm", frames, "RGB", SequenceOfUltrasoundRegions=regions, **planted)
    uids = [str(dcmread(path)[name].value) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    (folder / "Quartz_Aurelia_cut.dcm").write_bytes(path.read_bytes()[:1200])
    (folder / "Aurelia.avi").write_bytes(b"no video")
    write_video(folder / "quartz aurelia.mp4", frames, 25.0)
    write_zip(tmp_path / "in" / "Quartz.zip", {"Aurelia/q.dcm": path.read_bytes()})
    plan = IngestPlan((tmp_path / "in",), tmp_path / "out" / "store", tmp_path / "a.key", RULES)
    summary = ingest(plan, LocalEngine(1))
    assert summary.ingested == 3
    assert summary.rejected == 2
    said = capfd.readouterr()
    tables = repr(frame_rows(str(plan.out))) + repr(file_rows(str(plan.out)))
    written = all_bytes(tmp_path / "out") + (tables + said.out + said.err + caplog.text).encode()
    words = ["quartz", "aurelia", PATIENT_ID, STUDY_DATE, *uids, "19700203", "ACC998877", "grimwald", "elsewhere"]
    assert not [word for word in [*words, "QX55512", "ROOM9"] if word.lower().encode() in written.lower()]
    paths = (tmp_path / "a.key.files.csv").read_text()  # the key holder can find the files all the same
    assert "Quartz_Aurelia_cut.dcm" in paths
    assert "Aurelia.avi" in paths


def test_every_kind_of_source_gives_the_same_frames(tmp_path: Path) -> None:
    folder = tmp_path / "medium"
    for number in range(2):
        write_fan_clip(folder / "S1" / f"C{number}", draw_fan_clip(number, 2), 1, number + 1)
    write_dicomdir(folder, ["S1", "C0"], ["S1", "C1"])
    members = {f"S1/{path.name}": path.read_bytes() for path in sorted((folder / "S1").iterdir())}
    packed = write_zip(tmp_path / "packed.zip", members)
    (tmp_path / "list.txt").write_text("medium/S1/C0\nmedium/S1/C1\n")
    found = []
    for number, source in enumerate((folder, folder / "DICOMDIR", packed, f"@{tmp_path}/list.txt")):
        out = tmp_path / f"out{number}"
        ingest(IngestPlan((source,), out, tmp_path / "a.key", RULES), InlineEngine())
        found.append(frame_rows(out))
    assert len(found[0]) == 4
    assert all(rows == found[0] for rows in found)
    both = ingest(IngestPlan((folder, packed), tmp_path / "both", tmp_path / "a.key", RULES), InlineEngine())
    assert (both.ingested, both.frames_stored) == (4, 4)


def test_a_store_behind_a_url_is_the_same(plan: IngestPlan, whole: Any, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/by-url"
    ingest(replace(plan, out=url), InlineEngine())
    assert frame_rows(url) == whole[0]
    assert len(FrameStore(url)) == 40
    assert FrameStore(url).manifest["frames"] == 40
    assert ingest(replace(plan, out=url), InlineEngine()).done_before == 12


def test_a_store_in_an_object_store_is_the_same(plan: IngestPlan, whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An imitation of S3 on loopback."""
    server_module = pytest.importorskip("moto.server", reason="moto imitates S3; pip install 'moto[server,s3]'")
    server = server_module.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL"):
            monkeypatch.setenv(name, endpoint)
        for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("REGION", "us-east-1")):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        filesystem, _ = pyarrow.fs.FileSystem.from_uri("s3://bucket?allow_bucket_creation=true")
        filesystem.create_dir("bucket")
        url = "s3://bucket/frames"
        ingest(replace(plan, out=url), LocalEngine(1))
        assert (frame_rows(url), file_rows(url)) == whole
        assert FrameStore(url).manifest["frames"] == 40
        assert ingest(replace(plan, out=url), InlineEngine()).done_before == 12
    finally:
        server.stop()


def test_clips_that_name_nobody_belong_to_their_folder_or_to_themselves(tmp_path: Path) -> None:
    for number, name in enumerate(("a/1.mp4", "a/2.mp4", "b/1.mp4")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, np.repeat(draw_fan_clip(number)[..., None], 3, axis=-1), 25.0)
    patients = {}
    for unnamed in ("folder", "file"):
        rules = IngestRules(size=48, unnamed=unnamed)
        out = tmp_path / unnamed
        assert ingest(IngestPlan((tmp_path / "in",), out, tmp_path / "a.key", rules), InlineEngine()).ingested == 3
        patients[unnamed] = {row["patient"] for row in file_rows(out)}
        assert all(row["row_mm"] is None for row in frame_rows(out))  # a video knows no length
    assert (len(patients["folder"]), len(patients["file"])) == (2, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out": "nonsense://host/store"}, "nonsense URL"),
        ({"sources": ()}, "nothing was given"),
        ({"out": "inside"}, "inside a source"),
        ({"key": "in store"}, "inside the store"),
        ({"rules": IngestRules(size=64)}, "size 48 instead of 64"),
    ],
)
def test_nonsense_is_refused(plan: IngestPlan, archive: Path, change: dict[str, Any], message: str) -> None:
    if change.get("out") == "inside":
        change = {"out": archive / "store"}
    if change.get("key") == "in store":
        change = {"key": Path(plan.out) / "a.key"}
    if "rules" in change:
        ingest(replace(plan, sources=(archive / "s1",)), InlineEngine())
    with pytest.raises(StoreError, match=message):
        ingest(replace(plan, **change), InlineEngine())


def test_nothing_heavy_is_loaded() -> None:
    script = (
        "import sys; import echoapex.data.ingest.ingest, echoapex.io.ray_engine;"
        "import echoapex.data.stores.frame_store;"
        "assert not {'torch', 'lance', 'ray', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ})


def write_video(path: Path, frames: np.ndarray, rate_hz: float) -> None:
    with open_video_writer(path, (frames.shape[1], frames.shape[2]), rate_hz) as write:
        for frame in frames:
            write(frame)


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
