"""Read everything in a folder as an analysis does, and say how it ended."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from echoapex.io.clip_file import open_clip
from echoapex.io.clip_source import ReadError
from echoapex.io.study_files import find_clips


def write_case(folder: Path, files: Mapping[str, bytes]) -> Path:
    """A folder that holds these files and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def read_all(folder: Path) -> tuple[int, list[str]]:
    """Frames that were decoded, and the errors; anything else that is raised comes out."""
    frames, errors = 0, []
    for found in find_clips([folder]):
        if isinstance(found, ReadError):
            errors.append(str(found))
            continue
        try:
            with closing(open_clip(found)) as clip:
                count = sum(1 for _ in clip.frames())
                assert count == clip.header.frame_count, f"{count} frames, the header says {clip.header.frame_count}"
                frames += count
        except ReadError as error:
            errors.append(str(error))
    return frames, errors
