"""Corrections of clips: each is stored, the clip is analysed again with it, and the values of the study follow.

The analysis itself is never changed. Beside it lie the corrections and the corrected results. A mask that a person drew
is an anchor: when the mask of another frame is propagated, it changes only the frames that are nearer to it than to
any other anchor.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from pydantic import ValidationError

from echoapex.data.datasets.corrections import CorrectedClip, forget_corrected_clips, note_corrected_clip
from echoapex.domain.corrections import ClipCorrection
from echoapex.infer.clip.analyze import ClipAnalysis
from echoapex.infer.review.correction_files import corrected_clips, read_correction, write_correction
from echoapex.infer.review.recomputation import ReviewError
from echoapex.infer.review.review_study import review_study
from echoapex.infer.study.records import ClipRecord
from echoapex.infer.study.stored import StoredAnalysis
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.serve.page.clip_inputs import ClipInputs
from echoapex.serve.page.open_clips import OpenClips
from echoapex.serve.page.review_files import write_corrected_clip
from echoapex.serve.page.reviews import Reviews
from echoapex.serve.page.security import PageError
from echoapex.serve.page.steps import Steps
from echoapex.serve.page.study_list import StudyList
from echoapex.vocabulary import Structure

CLIP_STEP = "clip"
_COUNTED = "corrected by a person: "
LabelMaps = dict[int, UInt8[np.ndarray, "height width"]]
Mask = Bool[np.ndarray, "height width"]


@dataclass(frozen=True, eq=False)
class StoredCorrection:
    """The correction of a clip as it lies on the disk.

    Attributes:
        correction: what was corrected.
        maps: label maps of the outlined frames.
        anchors: by structure, the frames whose mask a person drew rather than propagated.
    """

    correction: ClipCorrection
    maps: LabelMaps
    anchors: Mapping[str, Sequence[int]]


Edit = Callable[[StoredCorrection], StoredCorrection]


class ClipCorrections:
    """Changes clips.

    Args:
        state: folder of the page.
        studies: the list.
        reviews: decisions of readers, and who may change.
        clips: open clips.
        inputs: where the files of clips lie.
        steps: what can be undone.
    """

    def __init__(
        self,
        state: Path,
        studies: StudyList,
        reviews: Reviews,
        clips: OpenClips,
        inputs: ClipInputs,
        steps: Steps,
    ) -> None:
        self._state = state
        self._studies = studies
        self._results = reviews.results
        self._reviews = reviews
        self._clips = clips
        self._inputs = inputs
        self._steps = steps

    def folder(self, study: str) -> Path:
        """Where the corrections of a study lie."""
        return self._state / "corrections" / study

    def read(self, study: str, clip: str) -> StoredCorrection:
        """The correction of a clip; an empty one where there is none.

        Raises:
            PageError: it is damaged.
        """
        try:
            correction, maps = read_correction(self.folder(study), clip)
        except ReviewError as error:
            raise PageError(str(error), 409) from None
        try:
            anchors = json.loads(self._anchor_file(study, clip).read_bytes())
        except (OSError, ValueError):
            anchors = {}
        return StoredCorrection(correction, maps, anchors)

    def change(self, study: str, clip: str, what: str, who: str, edit: Edit) -> None:
        """Correct a clip.

        Args:
            study: the study.
            clip: the clip.
            what: the change in words.
            who: the user.
            edit: makes the new correction of the present one.

        Raises:
            PageError: the correction does not suit the clip, or the study is signed off.
        """
        with self._reviews.changing(study):
            before = self.read(study, clip)
            content = self._snapshot(study, clip)
            try:
                after = edit(before)
                self._apply(study, after)
            except (ReviewError, ValidationError) as error:
                raise PageError(_reason(error), 422) from None
            self._steps.push(study, (CLIP_STEP, clip), what, (content, self._snapshot(study, clip)))
            self._studies.write_down(study, who, what, clip, (_readable(before), _readable(after)))
            self._reviews.refresh(study)

    def restore(self, study: str, clip: str, content: bytes) -> None:
        """Put a correction back as it was, and analyse the clip with it.

        Args:
            study: the study.
            clip: the clip.
            content: of the step.
        """
        folder = self.folder(study)
        if content:
            for name, part in _unpacked(content).items():
                path = folder / f"{clip}{name}"
                if part:
                    write_bytes_atomically(path, part)
                else:
                    path.unlink(missing_ok=True)
        else:
            self._forget(study, clip)
        self._apply(study, self.read(study, clip))

    def analysis(self, study: str, clip: str) -> ClipAnalysis:
        """The analysis of a clip with its correction.

        Raises:
            PageError: its file is gone.
            ReviewError: the correction does not suit the clip.
        """
        stored = self.read(study, clip)
        return self._analyze(study, stored)

    def _analyze(self, study: str, stored: StoredCorrection) -> ClipAnalysis:
        with self._clips.using(study, stored.correction.clip_id) as opened:
            found = opened.clip.reanalyze(stored.correction, stored.maps)
            opened.analysis = (stored.correction, found)
            return found

    def _apply(self, study: str, stored: StoredCorrection) -> None:
        """Analyse a clip with its correction, and write both down."""
        clip = stored.correction.clip_id
        state = self._results.state(study)
        found = None if stored.correction.is_empty else self._analyze(study, stored)
        base = self._without(state.original, state.current, clip)
        reviewed = review_study(base, {clip: found} if found is not None else {})
        if stored.correction.is_empty:
            self._forget(study, clip)
            forget_corrected_clips(self._state, study, clip)
        else:
            write_correction(self.folder(study), stored.correction, stored.maps)
            write_bytes_atomically(self._anchor_file(study, clip), json.dumps(dict(stored.anchors)).encode())
        if found is not None:
            self._list(study, found)
        corrected = corrected_clips(self.folder(study))
        notes = [note for note in reviewed.report.notes if not note.startswith(_COUNTED)]
        notes += [f"{_COUNTED}{len(corrected)} of {len(reviewed.report.clips)} clips"] if corrected else []
        report = reviewed.report.model_copy(update={"notes": tuple(notes)})
        out = self._results.reviewed_folder(study)
        if corrected:
            write_corrected_clip(out, state.original, replace(reviewed, report=report), clip)
        else:
            shutil.rmtree(out, ignore_errors=True)
        self._studies.update(study, revision=self._studies.places(study).revision + 1)

    def _list(self, study: str, found: ClipAnalysis) -> None:
        """Let the clip teach: list it in the data set of corrections; what is packed in an archive is unpacked once."""
        clip, patient = found.header.clip_id, found.header.source.get("patient", "") or study
        path = self._inputs.unpacked(study, clip, self._unpacked_folder(study, clip)).absolute()
        state = self._state.absolute()
        source = path.relative_to(state) if path.is_relative_to(state) else path
        note_corrected_clip(
            self._state, CorrectedClip(study=study, clip=clip, patient=patient, source=source.as_posix())
        )

    @staticmethod
    def _without(original: StoredAnalysis, current: StoredAnalysis, clip: str) -> StoredAnalysis:
        """The study with the corrections of all other clips."""
        known: dict[str, ClipRecord] = {record.report.clip_id: record for record in current.records}
        first: dict[str, ClipRecord] = {record.report.clip_id: record for record in original.records}
        records = tuple(first[name] if name == clip else known.get(name, first[name]) for name in first)
        return replace(original, records=records)

    def _anchor_file(self, study: str, clip: str) -> Path:
        return self.folder(study) / f"{clip}.anchors"

    def _unpacked_folder(self, study: str, clip: str) -> Path:
        return self.folder(study) / f"{clip}.unpacked"

    def _forget(self, study: str, clip: str) -> None:
        shutil.rmtree(self._unpacked_folder(study, clip), ignore_errors=True)
        for ending in _PARTS:
            (self.folder(study) / f"{clip}{ending}").unlink(missing_ok=True)

    def _snapshot(self, study: str, clip: str) -> bytes:
        """All files of a correction in one; empty where there are none."""
        parts = {}
        for ending in _PARTS:
            path = self.folder(study) / f"{clip}{ending}"
            parts[ending] = path.read_bytes() if path.is_file() else b""
        return _packed(parts) if any(parts.values()) else b""


_PARTS = (".json", ".npz", ".anchors")


def draw_mask(
    stored: StoredCorrection, frame: int, structure: Structure, mask: Mask, labels: np.ndarray
) -> StoredCorrection:
    """A person's mask of one structure on one frame, which becomes an anchor.

    Args:
        stored: the correction so far.
        frame: native frame number.
        structure: what the mask shows.
        mask: native pixels.
        labels: the label map of the frame so far.
    """
    maps, outlined = dict(stored.maps), dict(stored.correction.outlined)
    maps[frame] = _with_mask(labels, structure, mask)
    outlined[frame] = tuple({*outlined.get(frame, ()), structure.key})
    anchors = {**stored.anchors}
    anchors[structure.key] = sorted({*anchors.get(structure.key, ()), frame})
    return StoredCorrection(_changed(stored.correction, outlined=outlined), maps, anchors)


def spread_masks(
    stored: StoredCorrection, start: tuple[int, Structure], masks: np.ndarray, labels: Mapping[int, np.ndarray]
) -> StoredCorrection:
    """The masks of a structure on other frames, propagated from one frame, which becomes an anchor.

    Args:
        stored: the correction so far.
        start: native frame number, and the structure.
        masks: of every native frame.
        labels: label maps of the frames that get a mask, as they are.
    """
    frame, structure = start
    known = [anchor for anchor in stored.anchors.get(structure.key, ()) if anchor != frame]
    maps, outlined = dict(stored.maps), dict(stored.correction.outlined)
    for other, before in labels.items():
        if other in known or any(abs(other - anchor) < abs(other - frame) for anchor in known):
            continue
        maps[other] = _with_mask(before, structure, masks[other])
        outlined[other] = tuple({*outlined.get(other, ()), structure.key})
    anchors = {**stored.anchors, structure.key: sorted({*known, frame})}
    return StoredCorrection(_changed(stored.correction, outlined=outlined), maps, anchors)


def _with_mask(labels: np.ndarray, structure: Structure, mask: Mask) -> np.ndarray:
    drawn = np.where(labels == structure, 0, labels).astype(np.uint8)
    drawn[np.asarray(mask, bool)] = int(structure)
    return drawn


def change_correction(stored: StoredCorrection, **fields: Any) -> StoredCorrection:
    """Another view, cycle, calibration, wall points, or whether the clip is set aside.

    Raises:
        ValidationError: a field is not allowed.
    """
    return replace(stored, correction=_changed(stored.correction, **fields))


def _changed(correction: ClipCorrection, **fields: Any) -> ClipCorrection:
    return ClipCorrection.model_validate({**correction.model_dump(), **fields})


def _readable(stored: StoredCorrection) -> dict[str, Any]:
    """A correction for the audit trail; masks by their size in pixels."""
    found = stored.correction.model_dump(mode="json", exclude_defaults=True, exclude={"clip_id", "input_sha256"})
    areas = {
        str(frame): {key: int((stored.maps[frame] == Structure.from_key(key)).sum()) for key in keys}
        for frame, keys in stored.correction.outlined.items()
    }
    return {**found, "outlined": areas} if areas else found


def _packed(parts: Mapping[str, bytes]) -> bytes:
    head = json.dumps({name: len(part) for name, part in parts.items()}).encode()
    return struct.pack("<I", len(head)) + head + b"".join(parts.values())


def _unpacked(content: bytes) -> dict[str, bytes]:
    (length,) = struct.unpack("<I", content[:4])
    sizes: dict[str, int] = json.loads(content[4 : 4 + length])
    parts, start = {}, 4 + length
    for name, size in sizes.items():
        parts[name] = content[start : start + size]
        start += size
    return parts


def _reason(error: ReviewError | ValidationError) -> str:
    if isinstance(error, ReviewError):
        return str(error)
    return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
