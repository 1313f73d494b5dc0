"""Unity Imaging Collaborative: single frames from many British hospitals, with key points and curves by experts.

Howard et al., Circ Cardiovasc Imaging 2021 (the left ventricular dimensions), data.unityimaging.net. The official
layout is

* ``labels/labels-train.json``, ``labels-tune.json``, ``labels-ival.json`` (``labels-all.json`` is their union): by
  image file (``01-<64 hexadecimal digits>-<frame>.png``) an object whose ``labels`` name each point or curve with its
  ``type`` (``point``, ``curve``, ``off``: not in the image, ``blurred``: not labelled) and ``x`` and ``y``: numbers in
  pixels, separated by blanks;
* ``png-cache/01/4d/44/01-4d44...-0000.png``: the class, then the first two pairs of digits (the page also writes the
  name without its ``01-``; both are found).

Confirmed from the collaborative's page on the structure and from its code (github.com/UnityImaging/scantensus-echo).
Not confirmed: the licence (others write CC BY-NC-ND 4.0), the number of images, and the folder name ``labels`` after
unpacking ``labels.zip``, so that the JSON files are also looked for in the root. The patient of an image is hidden: the
64 digits name one DICOM file. The view is not written; the four points on septum and posterior wall are placed in
parasternal long-axis images, so an image with all four has the view PLAX. There is no pixel spacing.

``curve-lv-endo`` runs from one mitral hinge over the apex to the other. Its points are control points of a cubic spline
whose exact form is the authors'; they are joined by straight lines here, and closed along the mitral plane.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from echoapex.data.datasets.inspection import Inspection, ListedClip, check_presence, check_readable
from echoapex.data.datasets.records import (
    ALL,
    DatasetClip,
    DatasetError,
    Outline,
    SplitTally,
    WallTracing,
    number,
    require_split,
)
from echoapex.domain import WallPoint
from echoapex.vocabulary import Structure, View

SPLITS = ("train", "tune", "ival")
IMAGE_FOLDER, LABEL_FOLDER = "png-cache", "labels"
LABEL_TYPES = ("point", "curve", "off", "blurred")
WALL_LABELS = {
    WallPoint.SEPTUM_RV_SIDE: "lv-ivs-top",
    WallPoint.SEPTUM_LV_SIDE: "lv-ivs-bottom",
    WallPoint.POSTERIOR_WALL_LV_SIDE: "lv-pw-top",
    WallPoint.POSTERIOR_WALL_EPICARDIUM: "lv-pw-bottom",
}
ENDOCARDIUM = "curve-lv-endo"
NO_SPACING = "the images are PNG frames without calibration"

_CODE = re.compile(r"(?P<clip>(?P<kind>\d\d)-(?P<a>[0-9a-f]{2})(?P<b>[0-9a-f]{2})[0-9a-f]{60})-(?P<frame>\d{4})")

Points = Float[np.ndarray, "points 2"]


class Unity:
    """The development set in its official layout; the labels of one split are read at a time.

    Raises:
        DatasetError: none of the label files is there.
    """

    split_names = SPLITS

    def __init__(self, root: Path) -> None:
        self.root = root
        self.label_files = {split: path for split in SPLITS if (path := _label_file(root, split)) is not None}
        if not self.label_files:
            raise DatasetError(
                f"{root}: holds no {LABEL_FOLDER}/labels-train.json; unpack labels.zip and png-cache.zip in one folder"
            )

    def records(self, split: str = ALL) -> Iterator[DatasetClip]:
        """The labelled images of a split, in the order of its file.

        Raises:
            DatasetError: the split is unknown or not there, or its file is damaged.
        """
        require_split(split, SPLITS)
        if split != ALL and split not in self.label_files:
            raise DatasetError(f"labels-{split}.json: is not in {self.root}; unpack labels.zip again")
        for name, path in self.label_files.items():
            if split in (ALL, name):
                for code, labels in read_label_file(path).items():
                    yield self._record(code, labels, name)

    def _record(self, code: str, labels: Mapping[str, Any], split: str) -> DatasetClip:
        match = _CODE.match(code)
        frame = 0
        walls = _wall_tracing(labels, frame)
        endocardium = points_of(labels.get(ENDOCARDIUM))
        return DatasetClip(
            name=code,
            path=image_path(self.root, code),
            split=split,
            view=View.PLAX if walls else None,
            spacing_reason=NO_SPACING,
            outlines=(Outline(frame, Structure.LV_CAVITY, endocardium),) if len(endocardium) >= 3 else (),
            walls=(walls,) if walls else (),
            labels={"clip": match["clip"], "frame": match["frame"]} if match else {},
        )


def image_path(root: Path, code: str) -> Path:
    """Where an image lies; a code that is not one gives a path that does not exist."""
    match = _CODE.match(code)
    if match is None:
        return root / IMAGE_FOLDER / code
    folder = root / IMAGE_FOLDER / match["kind"] / match["a"] / match["b"]
    usual, without_class = folder / f"{match[0]}.png", folder / f"{match[0][3:]}.png"
    return without_class if without_class.is_file() and not usual.is_file() else usual


def read_label_file(path: Path) -> dict[str, Mapping[str, Any]]:
    """The labels of each image of one split, by the image's code; the file is held in memory (some 10 MB).

    Raises:
        DatasetError: the file is no JSON object of images with labels.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path.name}: cannot be read as JSON ({error}); unpack labels.zip again") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path.name}: is no JSON object by image; unpack labels.zip again")
    images: dict[str, Mapping[str, Any]] = {}
    for code, entry in content.items():
        labels = entry.get("labels") if isinstance(entry, dict) else None
        if not isinstance(labels, dict):
            raise DatasetError(f"{path.name}: {code} has no labels; unpack labels.zip again")
        images[code] = labels
    return images


def points_of(label: Any) -> Points:
    """The points of a label in native pixels; none where it is off, blurred or damaged."""
    if not isinstance(label, dict) or label.get("type") not in ("point", "curve"):
        return np.zeros((0, 2))
    x, y = ([number(part) for part in str(label.get(axis, "")).split()] for axis in ("x", "y"))
    if len(x) != len(y) or None in x or None in y:
        return np.zeros((0, 2))
    return np.array([x, y], dtype=np.float64).T.reshape(-1, 2)


def _label_file(root: Path, split: str) -> Path | None:
    name = f"labels-{split}.json"
    return next((path for path in (root / LABEL_FOLDER / name, root / name) if path.is_file()), None)


def _wall_tracing(labels: Mapping[str, Any], frame: int) -> WallTracing | None:
    points = {place: points_of(labels.get(label)) for place, label in WALL_LABELS.items()}
    if any(len(point) != 1 for point in points.values()):
        return None
    return WallTracing(frame, {place: (float(point[0, 0]), float(point[0, 1])) for place, point in points.items()})


def inspect_unity(inspection: Inspection) -> None:
    """Check files, splits, codes, labels, clips in two splits, and whether images can be read.

    Raises:
        DatasetError: the folder does not hold the layout at all.
    """
    dataset = Unity(inspection.root)
    listed: list[ListedClip] = []
    tally = SplitTally(inspection, inspection.root, SPLITS, group="clip")
    for split in SPLITS:
        path = dataset.label_files.get(split)
        if path is None:
            problem = f"labels-{split}.json is not there"
            inspection.warn("missing split", f"labels-{split}.json", problem, "unpack labels.zip again")
            continue
        images = read_label_file(path)
        inspection.counted[f"{split} images"] = len(images)
        for code, labels in images.items():
            match = _CODE.match(code)
            if match is None:
                inspection.error("image code", path, f"{code!r} is no code of an image", "unpack it again")
            # frames of one clip in two splits are as bad as a patient in two
            tally.add(code, match["clip"] if match else None, split)
            _inspect_labels(inspection, path, code, labels)
            listed.append(ListedClip(image_path(inspection.root, code)))
    inspection.counted["clips"] = tally.groups
    there = check_presence(inspection, listed, ())
    inspection.note("patients", ".", "patients are hidden, only clips can be told apart", "resample clips, not images")
    inspection.note("spacing", ".", NO_SPACING, "its points are for training and for errors in pixels, not in mm")
    inspection.note("count", ".", "no official page that could be read tells how many there are", "none is needed")
    check_readable(inspection, there)


def _inspect_labels(inspection: Inspection, path: Path, code: str, labels: Mapping[str, Any]) -> None:
    for name, label in labels.items():
        kind = label.get("type") if isinstance(label, dict) else None
        if kind is not None and kind not in LABEL_TYPES:
            inspection.error("label type", path, f"{code}: {name} has the type {kind!r}", "unpack labels.zip again")
        elif kind in ("point", "curve") and not len(points_of(label)):
            inspection.warn(
                "label points", path, f"{code}: {name} has no readable x and y", "this label is passed over"
            )
