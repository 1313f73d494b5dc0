"""Opening what was found: the right reader, the given name, and a workspace that cleans up after itself."""

import gc
import pickle
from pathlib import Path

import pytest
from synthetic_dicom import PATIENT_ID, moving_frames, write_native

from echoapex.io.clip_file import ClipFile, ClipKind, Workspace, open_clip
from echoapex.io.clip_source import ClipSource, ReadError, ReadFlag


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
    workspace = Workspace(tmp_path / "deep" / "work")
    (workspace.folder / "file").write_bytes(b"x")
    assert workspace.folder.stat().st_mode & 0o077 == 0

    del workspace
    gc.collect()

    assert not any((tmp_path / "deep" / "work").iterdir())
