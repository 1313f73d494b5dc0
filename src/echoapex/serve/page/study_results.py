"""What is stored of a study: the analysis, which never changes, and beside it the same with corrections.

A folder of results may hold several studies; each is shown alone. Read folders are kept in memory as long as the study
does not change.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from echoapex.domain.reported_study import ReportedStudy
from echoapex.infer.clip.outlines import LabelMaps
from echoapex.infer.outputs.files import RESULTS_FILE, read_masks
from echoapex.infer.study.records import group_by_study, leave_out_copies
from echoapex.infer.study.stored import StoredAnalysis, StoredError, read_stored
from echoapex.serve.page.schemas import PageState
from echoapex.serve.page.security import PageError
from echoapex.serve.page.study_list import StudyList

_MOST_KEPT = 24
_READY = (PageState.READY, PageState.SIGNED)
Masks = Mapping[int, UInt8[np.ndarray, "height width"]]


@dataclass(frozen=True)
class StudyFindings:
    """A study as it is stored.

    Attributes:
        original: what the analysis found.
        current: with the corrections of readers; the same where there are none.
        revision: which change of the study this is.
    """

    original: StoredAnalysis
    current: StoredAnalysis
    revision: int

    @property
    def reported(self) -> ReportedStudy:
        """The current values with limits and categories."""
        return self.current.studies()[0]


class StudyResults:
    """Reads the results of studies.

    Args:
        state: folder of the page.
        studies: the list.
    """

    def __init__(self, state: Path, studies: StudyList) -> None:
        self._state = state
        self._studies = studies
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def folder(self, study: str) -> Path:
        """Where the analysis is."""
        places = self._studies.places(study)
        return places.results or self._state / "results" / study

    def reviewed_folder(self, study: str) -> Path:
        """Where the corrected results are, once there are some."""
        return self._state / "reviewed" / study

    def current_folder(self, study: str) -> Path:
        """The corrected results, or the analysis where nothing was corrected."""
        reviewed = self.reviewed_folder(study)
        return reviewed if (reviewed / RESULTS_FILE).is_file() else self.folder(study)

    def state(self, study: str, *, finished: bool = True) -> StudyFindings:
        """The results of a study.

        Args:
            study: the study.
            finished: refuse a study whose analysis is not finished.

        Raises:
            PageError: there is no such study, or it has no results (yet).
        """
        places = self._studies.places(study)

        def read() -> StudyFindings:
            original = restrict(_read(self.folder(study)), places.part)
            reviewed = self.reviewed_folder(study)
            current = _read(reviewed) if (reviewed / RESULTS_FILE).is_file() else original
            return StudyFindings(original, current, places.revision)

        if finished and self._studies.row(study).state not in _READY:
            raise PageError("the study is not analysed yet; wait until it is ready", 409)
        found: StudyFindings = self.keep((study, places.revision), read)
        return found

    def masks(self, study: str, clip: str) -> Masks:
        """The current label maps of a clip by native frame; empty where none were written."""
        found: Masks = self.keep(
            ("masks", study, clip, self._studies.places(study).revision),
            lambda: _packed_masks(self.current_folder(study), clip),
        )
        return found

    def keep(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What was made before under a key, or what is made now."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return made


def _packed_masks(folder: Path, clip: str) -> LabelMaps:
    """The label maps of a clip, compressed: hundreds of large frames may be kept."""
    found = read_masks(folder, clip)
    size = next(((labels.shape[0], labels.shape[1]) for labels in found.values()), (1, 1))
    maps = LabelMaps(size)
    for frame, labels in found.items():
        maps[frame] = labels
    return maps


def _read(folder: Path) -> StoredAnalysis:
    try:
        return read_stored(folder)
    except StoredError as error:
        _, _, reason = str(error).partition(": ")
        raise PageError(f"the results of the study {reason}", 409) from None


def restrict(stored: StoredAnalysis, part: str) -> StoredAnalysis:
    """One study of an output folder; ``part`` is its pseudonym, and empty for the only study."""
    groups = group_by_study(stored.records)
    if len(groups) < 2:
        return stored
    records = tuple(groups.get(part, ()))
    clips = {record.report.clip_id for record in records}
    report = stored.report.model_copy(
        update={
            "clips": tuple(clip for clip in stored.report.clips if clip.clip_id in clips),
            "measurements": tuple(
                item
                for item in stored.report.measurements
                if item.details.get("study", "") in (part, part or "unknown")
            ),
        }
    )
    return StoredAnalysis(stored.folder, report, records, stored.manifest)


def parts_of(stored: StoredAnalysis) -> tuple[str, ...]:
    """The studies of an output folder, by pseudonym; one empty text where it is a single study."""
    groups = group_by_study(leave_out_copies(stored.records))
    return tuple(groups) if len(groups) > 1 else ("",)
