"""The clips of the page as vectors, for the map, for neighbours, and to say which study is worth correcting next.

Each clip is encoded once, by the encoder of the set that the page was started with, in a thread that works when nothing
else asks; what it finds is kept in the cache. Results are read again only where a study changed.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from echoapex.config import Config
from echoapex.curation.next_study import StudyDoubt, entropy_of
from echoapex.domain.results import StudyReport
from echoapex.infer.clip_embedder import ClipEmbedder, PatchFeatures
from echoapex.io.clip_source import ReadError
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.serve.page.clip_inputs import ClipInputs
from echoapex.serve.page.schemas import PageState
from echoapex.serve.page.security import PageError
from echoapex.serve.page.study_list import StudyFilter, StudyList
from echoapex.serve.page.study_results import StudyResults
from echoapex.vocabulary import View

_LOG = logging.getLogger("echoapex.page")
_ROWS_AT_ONCE = 200
_READ_AT_ONCE = 40
"""Studies whose results a request reads at most; the thread reads the others."""
_TICK_S = 0.05
_READY = (PageState.READY, PageState.SIGNED)


class ClipLabel(Config):
    """What is known of a clip beside its vector."""

    clip: str
    view: View | None = None
    view_entropy: float = 0.0
    overlap: float | None = None


@dataclass(frozen=True, eq=False)
class ArchivedStudy:
    """A study whose results are there.

    Attributes:
        study: its key.
        revision: which state of its results this is.
        corrected: whether a reader has changed it.
        ef_percent: its ejection fraction; None where there is none.
        clips: those that were not set aside.
    """

    study: str
    revision: int
    corrected: bool
    ef_percent: float | None
    clips: tuple[ClipLabel, ...]


@dataclass(frozen=True, eq=False)
class ArchivedClip:
    """A clip of the map.

    Attributes:
        study: key of its study.
        label: what is known of it.
        ef_percent: of its study.
        vendor: of the scanner; empty where the file does not say.
        vector: of unit length.
    """

    study: str
    label: ClipLabel
    ef_percent: float | None
    vendor: str
    vector: Float[np.ndarray, "width"]


class Archive:
    """Vectors of all clips.

    Args:
        cache: folder of the page's cache; a study's vectors lie in its own folder there.
        studies: the list.
        results: of the studies.
        inputs: the files of the clips.
        load: loads the encoder, at the first need.
        news: is set when a study is new or has changed.
    """

    def __init__(
        self,
        cache: Path,
        studies: StudyList,
        results: StudyResults,
        inputs: ClipInputs,
        load: Callable[[], ClipEmbedder],
        news: threading.Event,
    ) -> None:
        self._cache = cache
        self._studies = studies
        self._results = results
        self._inputs = inputs
        self._load = load
        self._embedder: ClipEmbedder | None = None
        self._known: dict[str, ArchivedStudy] = {}
        self._vectors: dict[tuple[str, str], tuple[np.ndarray, str] | None] = {}
        self._lock = threading.Lock()
        self._ending, self._news = threading.Event(), news
        self._thread = threading.Thread(target=self._work, name="echoapex-archive", daemon=True)

    def start(self) -> None:
        """Begin to encode."""
        self._thread.start()

    def close(self) -> None:
        """End after the clip that is being encoded."""
        self._ending.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def embedder(self) -> ClipEmbedder:
        """The encoder, loaded at the first call.

        Raises:
            BundleError: it is missing or damaged.
            DeviceError: there is no such device here.
        """
        with self._lock:
            if self._embedder is None:
                self._embedder = self._load()
            return self._embedder

    def studies(self, most_read: int | None = None) -> tuple[list[ArchivedStudy], int]:
        """All studies whose results were read, by key, and how many wait for it.

        Args:
            most_read: read the results of so many more at most; None for all.
        """
        found: dict[str, ArchivedStudy] = {}
        read = waiting = 0
        for study, corrected in self._listed():
            try:
                revision = self._studies.places(study).revision
                known = self._known.get(study)
                if known is None or (known.revision, known.corrected) != (revision, corrected):
                    if most_read is not None and read >= most_read:
                        waiting += 1
                        continue
                    read += 1
                    known = _describe(study, revision, corrected, self._results.state(study).current.report)
                found[study] = known
            except PageError:  # deleted meanwhile, or its results cannot be read
                continue
        self._known = self._known | found if waiting else found
        return [found[study] for study in sorted(found)], waiting

    def clips(self, patience_s: float = 0.0) -> tuple[list[ArchivedClip], int]:
        """The clips that are encoded, and how many are not yet; an unread study counts as one.

        Args:
            patience_s: wait so long for the others.
        """
        self._news.set()
        ends = time.monotonic() + patience_s
        while True:
            began = time.monotonic()
            studies, missing = self.studies(_READ_AT_ONCE)
            found = list(self._encoded(studies))
            missing += sum((study.study, label.clip) not in self._vectors for study in studies for label in study.clips)
            if not missing or time.monotonic() > ends or self._ending.is_set():
                return found, missing
            time.sleep(_TICK_S + 4 * (time.monotonic() - began))

    def _encoded(self, studies: Sequence[ArchivedStudy]) -> Iterator[ArchivedClip]:
        for study in studies:
            for label in study.clips:
                known = self._vectors.get((study.study, label.clip))
                if known is not None:
                    yield ArchivedClip(study.study, label, study.ef_percent, known[1], known[0])

    def doubts(self) -> tuple[list[StudyDoubt], Float[np.ndarray, "clips width"]]:
        """The studies that nobody has corrected, and the vectors of those that were."""
        self._news.set()
        studies, _ = self.studies(_READ_AT_ONCE)
        vectors: dict[str, list[np.ndarray]] = {}
        for clip in self._encoded(studies):
            vectors.setdefault(clip.study, []).append(clip.vector)
        width = next(iter(vectors.values()))[0].shape[0] if vectors else 0
        doubts, corrected = [], [np.zeros((0, width))]
        for study in studies:
            own = np.array(vectors.get(study.study, [])).reshape(-1, width)
            if study.corrected:
                corrected.append(own)
            elif study.clips:
                overlaps = [clip.overlap for clip in study.clips if clip.overlap is not None]
                entropy = float(np.mean([clip.view_entropy for clip in study.clips]))
                doubts.append(StudyDoubt(study.study, entropy, float(np.mean(overlaps)) if overlaps else None, own))
        return doubts, np.concatenate(corrected)

    def patches(self, study: str, clip: str, frame: int) -> PatchFeatures:
        """Patch features of a frame of a clip.

        Raises:
            PageError: there is no such clip or frame, or its file is not there.
        """
        with self._inputs.opened(study, clip) as source:
            try:
                return self.embedder.patches(source, frame)
            except ReadError:
                raise
            except ValueError as error:
                raise PageError(str(error), 404) from None

    def _listed(self) -> Iterator[tuple[str, bool]]:
        """The studies with results, and whether each was corrected."""
        offset = 0
        while True:
            rows = self._studies.rows(StudyFilter(), "received", offset, _ROWS_AT_ONCE).studies
            yield from ((row.study, row.reviewed) for row in rows if row.state in _READY)
            if len(rows) < _ROWS_AT_ONCE:
                return
            offset += len(rows)

    def _work(self) -> None:
        while not self._ending.is_set():
            self._news.clear()
            try:
                self._encode_missing()
            except Exception as error:  # its text may quote a file, so only its kind is told
                _LOG.error("the map of the archive: failed (%s)", type(error).__name__)
                _LOG.debug("its traceback", exc_info=error)
            self._news.wait()

    def _encode_missing(self) -> None:
        for study in self.studies()[0]:
            for label in study.clips:
                if self._ending.is_set():
                    return
                key = (study.study, label.clip)
                if key not in self._vectors:
                    self._vectors[key] = self._read(*key) or self._encode(*key)

    def _place(self, study: str, clip: str) -> Path:
        return self._cache / study / f"{clip}.{self.embedder.sha256[:12]}.vector.npz"

    def _read(self, study: str, clip: str) -> tuple[np.ndarray, str] | None:
        try:
            with np.load(self._place(study, clip), allow_pickle=False) as stored:
                return stored["vector"], str(stored["vendor"])
        except (OSError, ValueError, KeyError):
            return None

    def _encode(self, study: str, clip: str) -> tuple[np.ndarray, str] | None:
        """The vector of a clip; None where its file cannot be read (any more)."""
        try:
            with self._inputs.opened(study, clip) as source:
                found = self.embedder.embed(source), source.header.manufacturer
        except (PageError, ReadError):
            return None
        content = io.BytesIO()
        np.savez(content, vector=found[0], vendor=np.array(found[1]))
        write_bytes_atomically(self._place(study, clip), content.getvalue())
        return found


def _describe(study: str, revision: int, corrected: bool, report: StudyReport) -> ArchivedStudy:
    clips = tuple(
        ClipLabel(
            clip=clip.clip_id,
            view=clip.view,
            view_entropy=entropy_of(clip.view_probabilities.values()),
            overlap=float(np.mean(list(clip.structures.values()))) if clip.structures else None,
        )
        for clip in report.clips
        if not clip.set_aside
    )
    ef_percent = report.ef.value if report.ef is not None else None
    return ArchivedStudy(study, revision, corrected, ef_percent, clips)
