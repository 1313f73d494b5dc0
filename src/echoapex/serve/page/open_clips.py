"""The clips that are open for clicks and corrections: few, bounded in memory, each used by many requests at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from echoapex.domain.corrections import ClipCorrection
from echoapex.infer.clip.analyze import ClipAnalysis
from echoapex.infer.review.review_clip import ReviewClip
from echoapex.serve.page.clip_inputs import ClipInputs
from echoapex.serve.page.page_config import PageLimits
from echoapex.serve.page.page_models import PageModels
from echoapex.serve.page.study_results import StudyResults

_BYTES_PER_FRAME = 3_000_000
"""About what a prepared and encoded frame holds in memory."""
_MEGABYTE = 1_000_000
_Key = tuple[str, str]


@dataclass
class OpenClip:
    """One open clip.

    Attributes:
        clip: answers clicks, and is analysed again with corrections.
        analysis: the latest, with the correction that it was made with.
    """

    clip: ReviewClip
    analysis: tuple[ClipCorrection, ClipAnalysis] | None = None
    _users: int = field(default=0, repr=False)

    @property
    def bytes(self) -> int:
        """About how much memory it takes."""
        return self.clip.frame_count * _BYTES_PER_FRAME


class OpenClips:
    """Opens clips at first need, and closes those that were not used for longest.

    Args:
        limits: how many, and how much memory.
        models: the weights.
        results: of the studies.
        inputs: the files of the clips.
    """

    def __init__(self, limits: PageLimits, models: PageModels, results: StudyResults, inputs: ClipInputs) -> None:
        self._limits = limits
        self._models = models
        self._results = results
        self._inputs = inputs
        self._open: OrderedDict[_Key, OpenClip] = OrderedDict()
        self._opening: dict[_Key, threading.Lock] = {}
        self._guard = threading.Lock()

    @contextmanager
    def using(self, study: str, clip: str) -> Iterator[OpenClip]:
        """Use a clip; it stays open at least as long.

        Raises:
            PageError: its file is gone, or the weights of its analysis are.
            ReadError: a frame cannot be decoded.
        """
        key = (study, clip)
        with self._guard:
            opening = self._opening.setdefault(key, threading.Lock())
        with opening:
            found = self._take(key)
            if found is None:
                found = OpenClip(self._read(study, clip), _users=1)
                with self._guard:
                    self._open[key] = found
        try:
            yield found
        finally:
            with self._guard:
                found._users -= 1
            self._shrink()

    def forget(self, study: str = "") -> None:
        """Close the clips of a study, or all: their weights or files have changed."""
        with self._guard:
            gone = [self._open.pop(key) for key in list(self._open) if study in ("", key[0])]
        for one in gone:
            if not one._users:
                one.clip.close()

    def _take(self, key: _Key) -> OpenClip | None:
        with self._guard:
            found = self._open.get(key)
            if found is not None:
                self._open.move_to_end(key)
                found._users += 1
            return found

    def _read(self, study: str, clip: str) -> ReviewClip:
        stored = self._results.state(study).original
        models = self._models.review(stored)
        with self._inputs.opened(study, clip) as source:
            return ReviewClip.open(models, source, clip_id=clip, options=stored.manifest.options)

    def _shrink(self) -> None:
        """Close what is too much, except what is in use."""
        closed = []
        with self._guard:
            total = sum(one.bytes for one in self._open.values())
            for key, one in list(self._open.items())[:-1]:
                fits = len(self._open) <= self._limits.open_clips and total <= self._limits.open_mb * _MEGABYTE
                if fits:
                    break
                if not one._users:
                    closed.append(self._open.pop(key))
                    self._opening.pop(key, None)
                    total -= one.bytes
        for one in closed:
            one.clip.close()
