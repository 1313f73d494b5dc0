"""Opening what was found: the right reader, the given name, and a workspace that cleans up after itself."""

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEGBaseline8Bit
from synthetic_dicom import PATIENT_ID, jpeg, moving_frames, write_compressed, write_native

from echoapex.io.clip_file import ClipFile, ClipKind, open_clip
from echoapex.io.clip_source import ClipSource, ReadError, ReadFlag
from echoapex.io.deidentify import PUBLIC_KEY, pseudonym
from echoapex.io.dicom.reader import open_dicom
from echoapex.io.pictures import open_video_writer
from echoapex.io.temporary_files import TemporaryFolder


def test_a_clip_is_called_as_it_was_found(tmp_path: Path) -> None:
    path = write_native(tmp_path / "x", moving_frames(2, colours=1), "MONOCHROME2")
    file = ClipFile(path, ClipKind.DICOM, "study/x", "x-1234", flags=(ReadFlag.WRONG_EXTENSION,))

    clip = open_clip(file)

    assert isinstance(clip, ClipSource)
    assert clip.header.clip_id == "x-1234"
    assert ReadFlag.WRONG_EXTENSION in clip.header.flags
    assert len(list(clip.frames())) == len(list(clip.frames())) == 2
    assert PATIENT_ID not in repr(clip.header)
    assert PATIENT_ID in repr(open_clip(file, keep_identifiers=True).header)


@pytest.mark.parametrize("kind", ClipKind)
def test_every_reader_refuses_by_the_display_name(tmp_path: Path, kind: ClipKind) -> None:
    path = tmp_path / "Quartz_Aurelia.dcm"
    path.write_bytes(b"nothing that any reader knows")

    with pytest.raises(ReadError, match=r"^clip 7") as caught:
        open_clip(ClipFile(path, kind, "clip 7", "clip-7"))

    assert "Quartz" not in str(caught.value)


def test_a_clip_file_travels_to_another_process(tmp_path: Path) -> None:
    file = ClipFile(tmp_path / "x", ClipKind.VIDEO, "x", "x-1")

    assert pickle.loads(pickle.dumps(file)) == file


def test_a_workspace_is_deleted_with_its_object(tmp_path: Path) -> None:
    workspace = TemporaryFolder(tmp_path / "deep" / "work")
    (workspace.folder / "file").write_bytes(b"x")
    assert workspace.folder.stat().st_mode & 0o077 == 0

    del workspace
    gc.collect()

    assert not any((tmp_path / "deep" / "work").iterdir())


def test_every_nth_frame_is_what_all_frames_would_give(tmp_path: Path) -> None:
    moving = moving_frames(7)
    dicom = ClipFile(write_native(tmp_path / "x", moving, "RGB"), ClipKind.DICOM, "x", "x-1")
    with open_video_writer(tmp_path / "v.mp4", moving.shape[1:3], 25.0) as write:
        for frame in moving:
            write(frame)
    video = ClipFile(tmp_path / "v.mp4", ClipKind.VIDEO, "v", "v-1")
    for file in (dicom, video):
        every = list(open_clip(file).frames())
        assert len(every) == 7
        for stride in (1, 3, 9):
            found = list(open_clip(file).frames_every(stride))
            assert all(np.array_equal(one, other) for one, other in zip(found, every[::stride], strict=True))


def test_frames_between_are_not_decoded(tmp_path: Path) -> None:
    """The pictures between are damaged, so that decoding one would fail."""
    frames = moving_frames(34, colours=1)
    whole = [jpeg(frame) for frame in frames]
    # every third is whole: also the twelve that a reader looks at to see what the clip shows
    pictures = [picture if number % 3 == 0 else picture[:60] + b"\0" * 60 for number, picture in enumerate(whole)]
    source = open_dicom(write_compressed(tmp_path / "x", frames, "MONOCHROME2", JPEGBaseline8Bit, pictures))
    assert len(list(source.frames_every(3))) == 12
    with pytest.raises(ReadError, match="frame 1"):
        list(source.frames())


def test_a_secret_key_adds_a_digest_of_the_patient(tmp_path: Path) -> None:
    def patient(key: bytes, **elements: object) -> str:
        path = write_native(tmp_path / "x", moving_frames(1, colours=1), "MONOCHROME2", **elements)
        return open_clip(ClipFile(path, ClipKind.DICOM, "x", "x-1"), pseudonym_key=key).header.source.get("patient", "")

    assert patient(PUBLIC_KEY) == ""
    assert patient(b"secret") == pseudonym(f"id {PATIENT_ID}", b"secret")
    assert patient(b"secret") != patient(b"other")
    assert patient(b"secret", PatientID=f" {PATIENT_ID.lower()} ", PatientName="A^B") == patient(b"secret")
    named = patient(b"secret", PatientID=None, PatientName="A^B", PatientBirthDate="19700203")
    assert named != patient(b"secret", PatientID=None, PatientName="A^B", PatientBirthDate="19700204")
    assert patient(b"secret", PatientID=None, PatientName=None) == ""
