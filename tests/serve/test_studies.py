"""Studies on disk: nothing is acknowledged that a crash would lose, and nothing is analysed or sent twice."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from node_workplace import Workplace
from small_echo import write_small_study

from echoapex.serve import studies as studies_module
from echoapex.serve.database import INSTANCES
from echoapex.serve.instance_file import read_instance_header
from echoapex.serve.jobs import JobKind
from echoapex.serve.ledger import SendState
from echoapex.serve.studies import OutOfRoomError, StudyStore, Taken
from echoapex.vocabulary import View

Make = Callable[..., Workplace]


def take(store: StudyStore, path: Path) -> Taken:
    header = read_instance_header(path.read_bytes())
    assert header
    return store.take(path.read_bytes(), header)


def files_of(store: StudyStore) -> list[Path]:
    return sorted(path for path in (store.folder / "incoming").rglob("*") if path.is_file())


def test_a_duplicate_is_kept_once(workplace: Make, small_study: list[Path]) -> None:
    store = workplace().parts.studies
    assert [take(store, small_study[0]) for _ in range(2)] == [Taken.NEW, Taken.DUPLICATE]
    (kept,) = files_of(store)
    assert kept.read_bytes() == small_study[0].read_bytes()
    header = read_instance_header(small_study[0].read_bytes())
    assert header and header.study_uid not in str(kept)


def test_a_study_is_queued_when_nothing_came_for_a_while(workplace: Make, small_study: list[Path]) -> None:
    place = workplace()
    place.take(small_study)
    assert place.parts.studies.settle(60) == 0
    assert place.parts.studies.settle(0) == 1
    assert place.parts.studies.settle(0) == 0
    job = place.claim(JobKind.ANALYZE)
    study = place.parts.studies.input_of(job.study_uid)
    assert study.digest == job.digest
    assert [path.read_bytes() for path in study.files] == [small_study[0].read_bytes()]


def test_an_instance_that_comes_late_makes_the_earlier_results_void(workplace: Make, tmp_path: Path) -> None:
    place = workplace()
    files = write_small_study(tmp_path / "two", views=(View.PLAX, View.A4C))
    place.take(files[:1])
    place.parts.studies.settle(0)
    first = place.claim(JobKind.ANALYZE)
    place.take(files[1:])
    with place.parts.queue.finishing(first) as connection:
        assert not place.parts.studies.is_current(connection, first.study_uid, first.digest)
    assert place.parts.studies.settle(0) == 1
    second = place.claim(JobKind.ANALYZE)
    assert second.digest != first.digest
    assert len(place.parts.studies.input_of(second.study_uid).files) == 2


def test_the_same_study_again_is_neither_analysed_nor_sent_again(workplace: Make, small_study: list[Path]) -> None:
    place = workplace(peers={"pacs": {"ae_title": "A", "host": "127.0.0.1", "port": 1}}, send_to=["pacs"])
    place.have_results(small_study)
    job = place.claim(JobKind.SEND)
    for sending in place.parts.ledger.sendings(job, tuple(SendState)):
        place.parts.ledger.mark(sending.result, "pacs", SendState.SENT)
    with place.parts.queue.finishing(job) as connection:
        place.parts.studies.advance(connection, job.study_uid)
    store = place.parts.studies
    assert store.counts() == {"done": 1}
    assert store.clear_finished(3600) == 0
    assert store.clear_finished(0) == 1
    assert not files_of(store) and not list((store.folder / "results").iterdir())
    place.take(small_study)
    assert store.settle(0) == 1
    assert store.counts() == {"done": 1}
    assert place.parts.queue.claim("test/1-0", tuple(JobKind)) is None


def test_what_a_crash_left_is_registered_or_removed(workplace: Make, small_study: list[Path]) -> None:
    place = workplace()
    store = place.parts.studies
    place.take(small_study)
    with place.parts.database.begin() as connection:  # as if the node had died between file and row
        connection.execute(sa.delete(INSTANCES))
    (kept,) = files_of(store)
    half = kept.with_name(f".{kept.name}.1-1.partial")
    half.write_bytes(b"half")
    assert store.recover() == 1
    assert files_of(store) == [kept]
    assert store.recover() == 0
    store.settle(0)
    assert len(store.input_of(place.claim(JobKind.ANALYZE).study_uid).files) == 1


def test_a_full_disk_refuses_and_leaves_nothing(
    workplace: Make, small_study: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = workplace().parts.studies
    real = os.fsync

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(studies_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        take(store, small_study[0])
    assert not files_of(store)
    monkeypatch.setattr(studies_module.os, "fsync", real)
    assert take(store, small_study[0]) is Taken.NEW


def test_a_lost_database_refuses_and_leaves_no_file(
    workplace: Make, small_study: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = workplace()

    def lost(*_: object, **__: object) -> bool:
        raise sa.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(place.parts.database, "insert_new", lost)
        with pytest.raises(sa.exc.OperationalError):
            take(place.parts.studies, small_study[0])
    assert not files_of(place.parts.studies)
    assert take(place.parts.studies, small_study[0]) is Taken.NEW


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 2 MB; skips where this user may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full(workplace: Make, small_disk: Path, tmp_path: Path) -> None:
    place = workplace(data=small_disk / "data", limits={"free_mb": 0})
    files = [write_small_study(tmp_path / "many", number)[0] for number in range(1, 40)]
    kept, refused = [], 0
    for path in files:
        try:
            kept.append((path, take(place.parts.studies, path)))
        except (OSError, sa.exc.SQLAlchemyError):
            refused += 1
    assert kept and refused
    stored = {path.read_bytes() for path in files_of(place.parts.studies)}
    assert {path.read_bytes() for path, _ in kept} <= stored
    with place.parts.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(INSTANCES)).scalar() == len(kept)


def test_room_stays_free(workplace: Make, small_study: list[Path]) -> None:
    store = workplace(limits={"free_mb": 1e9}).parts.studies
    with pytest.raises(OutOfRoomError):
        take(store, small_study[0])
    assert not files_of(store)
