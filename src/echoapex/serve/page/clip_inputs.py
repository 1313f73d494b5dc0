"""The file of a clip, found again by the map of names beside the results, and what its header says."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from echoapex.config import Config
from echoapex.data.preprocess import to_grey
from echoapex.domain import ClipReport, Sector
from echoapex.infer.outputs.files import NameMap, name_map_path
from echoapex.io.archive import extract_members
from echoapex.io.clip_file import ClipFile, OpenedClip, open_clip
from echoapex.io.clip_source import ReadError
from echoapex.io.deidentify import FileNames
from echoapex.io.file_format import FORMAT_OF_SUFFIX, suffix_of
from echoapex.io.sector import find_sector
from echoapex.io.study_files import find_clips
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.serve.page.security import PageError
from echoapex.serve.page.study_results import StudyResults

_SAMPLE_FRAMES = 24
_USUAL_RATE_HZ = 30.0
_INPUT_GONE = "the file of this clip is not where it was; put it back, or upload the study again"


class ClipFacts(Config):
    """What is needed to show a clip, kept beside its pictures.

    Attributes:
        frame_times_s: time of each frame.
        calibration: where the size of a pixel is known from; empty where it is not.
        box_xyxy: of the ultrasound sector in pixel edges; None where none was found, and then no picture is shown.
        polygon_xy: outline of the sector; empty where only the box is known.
        has_input: whether the file of the clip was there.
    """

    frame_times_s: tuple[float, ...]
    calibration: str = ""
    box_xyxy: tuple[float, float, float, float] | None = None
    polygon_xy: tuple[tuple[float, float], ...] = Field(default=())
    has_input: bool = True

    @property
    def sector(self) -> Sector | None:
        """The ultrasound sector."""
        return None if self.box_xyxy is None else Sector(self.box_xyxy, self.polygon_xy)

    @property
    def outline(self) -> list[tuple[float, float]] | None:
        """The sector as a polygon in pixel centres; its box where it has no outline."""
        if self.box_xyxy is None:
            return None
        if self.polygon_xy:
            return list(self.polygon_xy)
        x0, y0, x1, y1 = self.box_xyxy
        left, top, right, bottom = x0, y0, x1 - 1, y1 - 1
        return [(left, top), (right, top), (right, bottom), (left, bottom)]


class ClipInputs:
    """Opens the files of clips.

    Args:
        cache: folder of what is computed from them.
        results: the results, beside which the maps of names are.
        secret: key of the pseudonyms of patients.
    """

    def __init__(self, cache: Path, results: StudyResults, secret: bytes) -> None:
        self._cache = cache
        self._secret = secret
        self._results = results
        self._lock = threading.Lock()

    def place(self, study: str, clip: str) -> str:
        """Where a clip lies: a path, or ``ARCHIVE!MEMBER``; empty where that is not known."""

        def read() -> NameMap:
            try:
                return NameMap.model_validate_json(name_map_path(self._results.folder(study)).read_bytes())
            except (OSError, ValidationError):
                return NameMap()

        names: NameMap = self._results.keep(("names", study), read)
        return names.files.get(clip, "")

    @contextmanager
    def opened(self, study: str, clip: str) -> Iterator[OpenedClip]:
        """Open a clip, and close it again.

        Raises:
            PageError: its file is not there, or cannot be read.
        """
        try:
            with closing(open_clip(self._found(study, clip), pseudonym_key=self._secret)) as source:
                yield source
        except ReadError as error:
            raise PageError(f"the clip {error.reason}; {error.remedy}", 409) from None

    def unpacked(self, study: str, clip: str, folder: Path) -> Path:
        """The file of a clip, or the folder of its files; where it is in an archive, unpacked once into ``folder``.

        Only members that are safe are unpacked, under their bare names; a single one gets a name that says nothing.

        Raises:
            PageError: its file is not there, or cannot be unpacked.
        """
        if not folder.is_dir():
            file = self._found(study, clip)
            if not file.is_packed:
                return Path(self.place(study, clip))
            _unpack(file, folder)
        files = list(folder.iterdir())
        return files[0] if len(files) == 1 else folder

    def _found(self, study: str, clip: str) -> ClipFile:
        place = self.place(study, clip)
        path = Path(place.partition("!")[0])
        if not place or not path.exists():
            raise PageError(_INPUT_GONE, 404)
        names = FileNames()
        for found in find_clips([path], names=names):
            if isinstance(found, ClipFile) and names.originals.get(found.display_name) == place:
                return replace(found, display_name=clip, clip_id=clip)
        raise PageError(_INPUT_GONE, 404)

    def facts(self, study: str, report: ClipReport) -> ClipFacts:
        """What is needed to show a clip; read once and kept."""
        path = self._cache / study / f"{report.clip_id}.json"

        def read() -> ClipFacts:
            try:
                return ClipFacts.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                pass
            try:
                facts = self._read_facts(study, report.clip_id)
            except PageError:
                return ClipFacts(frame_times_s=_assumed_times(report), has_input=False)
            with self._lock:
                write_bytes_atomically(path, facts.model_dump_json().encode())
            return facts

        found: ClipFacts = self._results.keep(("facts", study, report.clip_id), read)
        return found

    def _read_facts(self, study: str, clip: str) -> ClipFacts:
        with self.opened(study, clip) as source:
            header = source.header
            sector = header.sector
            if sector is None:
                sample = [to_grey(frame) for frame in islice(source.frames(), _SAMPLE_FRAMES)]
                sector = find_sector(np.stack(sample)) if sample else None
        return ClipFacts(
            frame_times_s=header.frame_times_s,
            calibration=header.source.get("calibration", "") if header.spacing else "",
            box_xyxy=sector.box_xyxy if sector else None,
            polygon_xy=sector.polygon_xy if sector else (),
        )


def _unpack(file: ClipFile, folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    try:
        files = extract_members(file.path, file.members, partial, file.display_name)
        if len(files) == 1:
            suffix = suffix_of(files[0].name)
            files[0].rename(partial / f"clip{suffix if suffix in FORMAT_OF_SUFFIX else ''}")
        partial.replace(folder)
    except ReadError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise PageError(
            f"the clip cannot be unpacked, to learn from it: it {error.reason}; {error.remedy}", 409
        ) from None


def _assumed_times(report: ClipReport) -> tuple[float, ...]:
    """Evenly spaced times of a clip whose file is gone."""
    step = 1 / (report.frame_rate_hz or _USUAL_RATE_HZ)
    return tuple(round(index * step, 6) for index in range(report.frames))
