"""What an upload becomes: grouped by study, each file once, archives unpacked or kept, nothing left behind."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from small_echo import write_small_study

from echoapex.serve.database import Database
from echoapex.serve.page.page_config import PageLimits
from echoapex.serve.page.schemas import Uploaded
from echoapex.serve.page.security import PageError
from echoapex.serve.page.study_list import StudyList
from echoapex.serve.page.uploads import IncomingFile, Uploads
from echoapex.vocabulary import View

Take = Callable[..., Uploaded]


@pytest.fixture
def take(tmp_path: Path) -> Take:
    """Uploads files, given by their names and contents."""
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate()
    studies = StudyList(database, lambda row: None)
    uploads = Uploads(tmp_path / "inputs", PageLimits(free_mb=0), studies, b"secret")

    def upload(files: list[tuple[str, bytes]]) -> Uploaded:
        return uploads.take([IncomingFile(BytesIO(content), name) for name, content in files])

    return upload


def picture(level: int) -> bytes:
    stream = BytesIO()
    Image.new("L", (32, 32), level).save(stream, format="png")
    return stream.getvalue()


def packed(members: dict[str, bytes]) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def kept(tmp_path: Path, study: str) -> list[str]:
    return sorted(path.suffix for path in (tmp_path / "inputs" / study).iterdir())


def test_an_archive_of_dicom_files_is_unpacked_and_grouped(take: Take, tmp_path: Path) -> None:
    first = write_small_study(tmp_path / "a", 1, (View.PLAX, View.A4C))
    second = write_small_study(tmp_path / "b", 2)
    members = {f"one/{path.name}": path.read_bytes() for path in first}
    members |= {f"two/{first[0].name}": second[0].read_bytes(), "one/notes.txt": b"text", "DICOMDIR": b"x"}
    told = take([("study.zip", packed(members)), (second[0].name, second[0].read_bytes())])
    assert told.refused == []
    assert [len(kept(tmp_path, study)) for study in told.studies] == [2, 1]
    assert sorted(path.name for path in (tmp_path / "inputs").iterdir()) == sorted(told.studies)


def test_numbered_pictures_stay_in_their_archive(take: Take, tmp_path: Path) -> None:
    told = take([("series.zip", packed({f"{number}.png": picture(number) for number in range(4)}))])
    assert [kept(tmp_path, study) for study in told.studies] == [[".zip"]]


def test_pictures_and_videos_are_grouped_by_their_folder(take: Take, tmp_path: Path) -> None:
    told = take([("a/1.png", picture(1)), ("a/2.png", picture(2)), ("b\\1.png", picture(1)), ("a/3.png", picture(1))])
    assert [len(kept(tmp_path, study)) for study in told.studies] == [2, 1]


def test_what_is_refused_says_why(take: Take) -> None:
    told = take([("empty.dcm", b""), ("a.dcm", b"\0" * 128 + b"DICM\x08\0\x05\0UL"), ("b.pdf", b"%PDF-1.7")])
    assert told.studies == []
    reasons = [one.reason for one in told.refused]
    assert [one.index for one in told.refused] == [0, 1, 2]
    assert "is empty" in reasons[0] and "damaged" in reasons[1] and "no format" in reasons[2]
    assert all("; " in reason for reason in reasons)


def test_a_full_disk_and_too_many_files_are_told(take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PageError, match="upload fewer"):
        take([("a.png", b"")] * 5_001)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "disk_usage", full)
    with pytest.raises(PageError, match="No space left") as told:
        take([("a.png", picture(0))])
    assert told.value.status == 507
    assert list((tmp_path / "inputs").iterdir()) == []


def test_what_a_killed_server_left_is_deleted(take: Take, tmp_path: Path) -> None:
    (tmp_path / "inputs" / ".upload-0123").mkdir()
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    Uploads(tmp_path / "inputs", PageLimits(), StudyList(database, lambda row: None), b"secret")
    assert list((tmp_path / "inputs").iterdir()) == []
