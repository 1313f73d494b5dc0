"""The frames of a clip for the browser: de-identified, scaled, packed into one file, and kept on the disk.

What lies outside the ultrasound sector is black, as in every picture of EchoApex: names are burned in there. A clip
without a known sector is black as a whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from echoapex.domain import ClipReport
from echoapex.infer.outputs.clip_pictures import tile_frames
from echoapex.infer.outputs.frame_picture import Placement, draw_frame, draw_outlines, sector_box
from echoapex.io.clip_source import ReadError
from echoapex.io.pictures import Pixels
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.serve.page.clip_inputs import ClipInputs
from echoapex.serve.page.security import PageError
from echoapex.serve.page.study_results import Masks, StudyResults
from echoapex.version import __version__

CINE_MAGIC = b"EACINE1\n"
PICTURE_TYPE = "image/webp"
LARGEST_WIDTH = 1600
_QUALITY, _METHOD = 82, 1
_THUMBNAIL = (180, 240)
_MOST_CINE_FRAMES = 600
_FRAMES_AT_ONCE = 16
_ENCODERS = min(4, os.cpu_count() or 1)
_MEGABYTE = 1_000_000


class Cines:
    """Makes cines and thumbnails.

    Args:
        folder: where they are kept.
        inputs: opens the clips.
        results: outlines of the thumbnails.
        most_mb: how much is kept; what was not used for longest goes first.
    """

    def __init__(self, folder: Path, inputs: ClipInputs, results: StudyResults, most_mb: float) -> None:
        self._folder = folder
        self._inputs = inputs
        self._results = results
        self._most_bytes = int(most_mb * _MEGABYTE)
        self._locks: dict[Path, threading.Lock] = {}
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(_ENCODERS, thread_name_prefix="cine")

    def close(self) -> None:
        """End the threads that encode."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def cine(self, study: str, report: ClipReport, width: int) -> Path:
        """The file with all frames of a clip.

        Args:
            study: the study.
            report: of the clip.
            width: of the pictures in pixels; never wider than the frames themselves.

        Raises:
            PageError: the file of the clip is gone, or cannot be read.
        """
        width = max(1, min(width, report.size[1], LARGEST_WIDTH))
        return self._kept(
            self._folder / study / f"{report.clip_id}-{width}.cine", lambda: self._pack(study, report, width)
        )

    def thumbnail(self, study: str, report: ClipReport, revision: int) -> Path:
        """A small picture of a clip with its outlines.

        Raises:
            PageError: the file of the clip is gone, or cannot be read.
        """
        path = self._folder / study / f"{report.clip_id}-{revision}.webp"
        return self._kept(path, lambda: self._draw_thumbnail(study, report))

    def etag(self, report: ClipReport, path: Path) -> str:
        """Changes when the picture would."""
        about = f"{__version__} {report.input_sha256} {path.name}"
        return f'"{hashlib.sha256(about.encode()).hexdigest()[:24]}"'

    def _kept(self, path: Path, make: Callable[[], bytes]) -> Path:
        with self._guard:
            lock = self._locks.setdefault(path, threading.Lock())
        with lock:
            if path.is_file():
                os.utime(path)
                return path
            write_bytes_atomically(path, make())
        with self._guard:
            self._locks.pop(path, None)
        self._prune(path)
        return path

    def _prune(self, newest: Path) -> None:
        """Delete what was not used for longest, until the rest is small enough."""
        files = []
        for path in (*self._folder.glob("*/*.cine"), *self._folder.glob("*/*.webp")):
            with suppress(OSError):  # deleted meanwhile
                about = path.stat()
                files.append((about.st_mtime, about.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._most_bytes:
                return
            if path != newest:
                with suppress(OSError):
                    path.unlink()
                total -= size

    def _pack(self, study: str, report: ClipReport, width: int) -> bytes:
        facts = self._inputs.facts(study, report)
        height = max(1, round(report.size[0] * width / report.size[1]))
        placement = Placement((0, 0, report.size[1], report.size[0]), (height, width))

        def pictures() -> Iterator[Pixels]:
            with self._inputs.opened(study, report.clip_id) as source:
                for index, frame in enumerate(source.frames()):
                    if index >= min(report.frames, _MOST_CINE_FRAMES):
                        return
                    yield draw_frame(frame, placement, facts.sector)

        encoded: list[bytes] = []
        stream = pictures()
        while batch := list(islice(stream, _FRAMES_AT_ONCE)):  # the pool would take all frames into memory
            encoded += self._pool.map(_encoded, batch)
        offsets = np.cumsum([0, *(len(picture) for picture in encoded)]).tolist()
        header = {
            "frames": len(encoded),
            "width": width,
            "height": height,
            "offsets": offsets,
            "times_s": list(facts.frame_times_s[: len(encoded)]),
            "type": PICTURE_TYPE,
        }
        return packed(CINE_MAGIC, header, b"".join(encoded))

    def _draw_thumbnail(self, study: str, report: ClipReport) -> bytes:
        facts, masks = self._inputs.facts(study, report), self._results.masks(study, report.clip_id)
        wanted = next(iter(tile_frames(report, tuple(masks)).values()))
        placement = Placement(sector_box(facts.sector, report.size), _THUMBNAIL)
        with self._inputs.opened(study, report.clip_id) as source:
            try:
                frame = next(frame for index, frame in enumerate(source.frames()) if index == wanted)
            except (StopIteration, ReadError):
                raise PageError("the clip ends before its frame; upload it again", 409) from None
        picture = draw_frame(frame, placement, facts.sector)
        nearest = _nearest(masks, wanted)
        if nearest is not None and not report.set_aside:
            draw_outlines(picture, masks[nearest], placement)
        return _encoded(picture)


def packed(magic: bytes, header: dict[str, object], content: bytes) -> bytes:
    """A mark, the length of the header (4 bytes, little endian), the header as JSON, and the content."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return magic + struct.pack("<I", len(text)) + text + content


def _encoded(picture: Pixels) -> bytes:
    stream = BytesIO()
    Image.fromarray(picture).save(stream, format="webp", quality=_QUALITY, method=_METHOD)
    return stream.getvalue()


def _nearest(masks: Masks, frame: int) -> int | None:
    return min(masks, key=lambda known: abs(known - frame), default=None)
