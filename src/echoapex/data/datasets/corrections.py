"""What a site's reviewers have corrected, as a data set: views, outlines and wall points of their own clips.

The folder is the state of the page (``echoapex serve --state``). Three things in it are read:

* ``corrections/index.json`` lists the corrected clips: study, clip, a pseudonym of the patient, and where the source
  lies (relative to the folder, or absolute). Whoever writes a correction also calls :func:`note_corrected_clip`;
* ``corrections/STUDY/CLIP.json`` is the :class:`~echoapex.domain.corrections.ClipCorrection` of a clip;
* ``corrections/STUDY/CLIP.npz`` holds its label maps (``frames``, ``structures``, ``labels``, as in ``masks/CLIP.npz``
  of an analysis). Only the structures that a person outlined on a frame are taken from it.

A patient teaches (``train``) or judges (``val``), by a keyed digest of the pseudonym. So a patient never changes sides,
whatever is corrected later, and all studies of a patient are on the same side. Clips that a person set aside are left
out.
"""

from __future__ import annotations

import hashlib
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from echoapex.config import Config
from echoapex.data.datasets.inspection import Inspection, ListedClip, check_presence, check_readable
from echoapex.data.datasets.records import (
    ALL,
    DatasetClip,
    DatasetError,
    LabelMaps,
    SplitTally,
    WallTracing,
    require_split,
)
from echoapex.domain.corrections import ClipCorrection
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.vocabulary import Application, Structure

CORRECTIONS_FOLDER, INDEX_FILE = "corrections", "index.json"
SPLITS = ("train", "val")
HELD_BACK_SHARE = 0.25
"""Expected share of the patients who judge."""
_SPLIT_KEY = b"echoapex corrections 1"
_NO_SPACING = "nobody has set one; the file itself may have it"
_ONE_WRITER = threading.Lock()


class CorrectedClip(Config):
    """Which clip was corrected, and where it lies. None of it may identify the patient.

    Attributes:
        study: key of the study, as in the name of its folder.
        clip: clip_id of the results.
        patient: a pseudonym, the same for all studies of a patient; the study's key where the patient is not known.
        source: file of the clip, relative to the state folder or absolute.
    """

    study: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    clip: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    patient: str = Field(min_length=1)
    source: str = Field(min_length=1)

    @property
    def split(self) -> str:
        """``train`` or ``val``; see :func:`split_of`."""
        return split_of(self.patient)


class CorrectionIndex(Config):
    """The content of ``corrections/index.json``."""

    version: int = Field(default=1, ge=1, le=1)
    clips: tuple[CorrectedClip, ...] = ()


def split_of(patient: str) -> str:
    """The side of a patient: ``val`` for a quarter of all pseudonyms, ``train`` for the others.

    >>> [split_of(f"patient {number}") for number in range(4)]
    ['train', 'train', 'train', 'val']
    """
    digest = hashlib.blake2b(patient.encode(), key=_SPLIT_KEY, digest_size=8).digest()
    return "val" if int.from_bytes(digest, "big") < HELD_BACK_SHARE * 2**64 else "train"


def read_index(state: Path) -> CorrectionIndex:
    """The corrected clips of a state folder; none where nothing was corrected yet.

    Raises:
        DatasetError: the index is damaged.
    """
    path = state / CORRECTIONS_FOLDER / INDEX_FILE
    if not path.is_file():
        return CorrectionIndex()
    try:
        return CorrectionIndex.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: is no index of corrections; restore it from a backup") from error


def note_corrected_clip(state: Path, clip: CorrectedClip) -> None:
    """List a corrected clip, once; call it after its correction is written. Safe among the threads of one process.

    Raises:
        DatasetError: the index is damaged.
    """
    with _ONE_WRITER:
        known = read_index(state).clips
        others = tuple(each for each in known if (each.study, each.clip) != (clip.study, clip.clip))
        if clip not in known:
            _write_index(state, (*others, clip))


def forget_corrected_clips(state: Path, study: str, clip: str | None = None) -> None:
    """Take a study, or one clip of it, off the list; its files are the caller's to delete.

    Raises:
        DatasetError: the index is damaged.
    """
    with _ONE_WRITER:
        known = read_index(state).clips
        kept = tuple(each for each in known if each.study != study or clip not in (None, each.clip))
        if kept != known:
            _write_index(state, kept)


def _write_index(state: Path, clips: Sequence[CorrectedClip]) -> None:
    index = CorrectionIndex(clips=tuple(sorted(clips, key=lambda each: (each.study, each.clip))))
    write_bytes_atomically(state / CORRECTIONS_FOLDER / INDEX_FILE, (index.model_dump_json(indent=1) + "\n").encode())


class CorrectionsDataset:
    """The corrections of a state folder.

    Raises:
        DatasetError: there is none, or the index is damaged.
    """

    split_names = SPLITS

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clips = read_index(root).clips
        if not self.clips:
            raise DatasetError(
                f"{root}: holds no correction; give the state folder of echoapex serve, and correct a clip on the page"
            )

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
        """The corrected clips of a split by study and clip.

        A clip comes once for each set of structures that was outlined on its frames, since what is known of a record
        holds on all its labelled frames. Its view and walls are with the first.

        Raises:
            DatasetError: the split is unknown, or a correction is missing or damaged.
        """
        require_split(split, SPLITS)
        for clip in self.clips:
            if split in (ALL, clip.split):
                yield from self._records_of(clip)

    def _records_of(self, clip: CorrectedClip) -> Iterator[DatasetClip]:
        correction = read_correction(self.root, clip)
        if correction.set_aside:
            return
        frames_of: dict[tuple[str, ...], list[int]] = {}
        for frame, structures in correction.outlined.items():
            frames_of.setdefault(structures, []).append(frame)
        for number, (structures, frames) in enumerate(frames_of.items() or [((), [])]):
            outlined = {Structure.from_key(key) for key in structures}
            yield DatasetClip(
                name=f"{clip.study}/{clip.clip}" + (f" {number + 1}" if number else ""),
                path=self.root / clip.source,
                patient=clip.patient,
                split=clip.split,
                view=None if number else correction.view,
                walls=() if number else _walls(correction),
                spacing=correction.spacing,
                spacing_reason="" if correction.spacing else _NO_SPACING,
                outlined=tuple(sorted(outlined)),
                labels={"study": clip.study},
                label_source=partial(self._read_labels, clip, correction, frames) if outlined else None,
            )

    def _read_labels(self, clip: CorrectedClip, correction: ClipCorrection, frames: Sequence[int]) -> LabelMaps:
        """The maps of these frames with nothing but what a person outlined.

        Raises:
            DatasetError: the maps are missing or damaged, or the source is another file than the corrected one.
        """
        _require_source(self.root / clip.source, correction, clip)
        stored = read_label_maps(_place(self.root, clip, ".npz"))
        missing = sorted(set(frames) - set(stored))
        if missing:
            raise DatasetError(f"{clip.study}/{clip.clip}: has no label map of frame {missing[0]}; correct it again")
        kept = {frame: [int(structure) for structure in correction.outlined_on(frame)] for frame in frames}
        return {frame: np.where(np.isin(stored[frame], kept[frame]), stored[frame], 0) for frame in frames}


def _place(root: Path, clip: CorrectedClip, suffix: str) -> Path:
    return root / CORRECTIONS_FOLDER / clip.study / f"{clip.clip}{suffix}"


def read_correction(root: Path, clip: CorrectedClip) -> ClipCorrection:
    """The correction of a listed clip.

    Raises:
        DatasetError: it is missing or damaged.
    """
    path = _place(root, clip, ".json")
    try:
        return ClipCorrection.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{clip.study}/{clip.clip}: {path.name} is missing or damaged; correct it again") from error


def read_label_maps(path: Path) -> LabelMaps:
    """All label maps of a file in the format of ``masks/CLIP.npz``, by native frame.

    Raises:
        DatasetError: it is missing or damaged, or names other structures.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            known = [str(key) for key in stored["structures"]]
            maps: LabelMaps = dict(zip(stored["frames"].tolist(), stored["labels"], strict=True))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"{path.name}: holds no label maps ({error}); correct the clip again") from error
    if known != [structure.key for structure in Structure]:
        raise DatasetError(f"{path.name}: was written with other structures; correct the clip again")
    return maps


def _require_source(path: Path, correction: ClipCorrection, clip: CorrectedClip) -> None:
    if not correction.input_sha256 or not path.is_file():
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != correction.input_sha256:
        raise DatasetError(f"{clip.study}/{clip.clip}: its source has changed since it was corrected; put it back")


def _walls(correction: ClipCorrection) -> tuple[WallTracing, ...]:
    return tuple(WallTracing(frame, dict(points)) for frame, points in sorted(correction.wall_points.items()))


def inspect_corrections(inspection: Inspection) -> None:
    """Check that every listed correction can be read, that its source is there, and count what it teaches.

    Raises:
        DatasetError: there is no correction, or the index is damaged.
    """
    dataset = CorrectionsDataset(inspection.root)
    tally = SplitTally(inspection, Path(CORRECTIONS_FOLDER) / INDEX_FILE, SPLITS)
    listed: list[ListedClip] = []
    for clip in dataset.clips:
        place = _place(inspection.root, clip, ".json")
        try:
            correction = read_correction(inspection.root, clip)
            _require_source(inspection.root / clip.source, correction, clip)
            if correction.outlined:
                read_label_maps(place.with_suffix(".npz"))
        except DatasetError as error:
            inspection.error("correction", place, str(error), "correct the clip again, or delete its study on the page")
            continue
        tally.add(f"{clip.study}/{clip.clip}", clip.patient, clip.split)
        listed.append(ListedClip(inspection.root / clip.source))
    inspection.counted |= {"clips": len(listed), "patients": tally.groups}
    check_readable(inspection, check_presence(inspection, listed, ()))


class LabelCount(Config):
    """How much was corrected for one task.

    Attributes:
        clips: labelled clips.
        teaching: patients who teach.
        judging: patients who are held back.
    """

    clips: int = 0
    teaching: int = 0
    judging: int = 0


def count_labels(root: Path) -> dict[Application, LabelCount]:
    """What was corrected for each task that has labels here; clips whose correction is damaged do not count."""
    found: dict[Application, tuple[set[str], dict[str, set[str]]]] = {}
    for clip in read_index(root).clips:
        try:
            correction = read_correction(root, clip)
        except DatasetError:
            continue
        if correction.set_aside:
            continue
        has = {
            Application.SEGMENTATION: bool(correction.outlined),
            Application.VIEW_CLASSIFICATION: correction.view is not None,
            Application.LV_WALL: bool(correction.wall_points),
        }
        for task in (task for task, labelled in has.items() if labelled):
            clips, patients = found.setdefault(task, (set(), {split: set() for split in SPLITS}))
            clips.add(f"{clip.study}/{clip.clip}")
            patients[clip.split].add(clip.patient)
    return {
        task: LabelCount(clips=len(clips), teaching=len(patients["train"]), judging=len(patients["val"]))
        for task, (clips, patients) in found.items()
    }
