"""Where the outlines of a set differ from an expert's on CAMUS: Dice, and how far the LV's borders lie outside of his.

    python benchmarks/outline_errors.py --root CAMUS [--bundle NAME] [--patients 40] [--out FILE]

Judged are the last patients of the official training split, with the views given; the validation split is left alone.
Distances are medians in percent of the length of the expert's LV cavity, positive where the set draws a border farther
out: of the apex along the long axis, inner and outer border, and of the inner border on both sides, in the middle of
the ventricle, across it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from figures_file import tell_figures
from jaxtyping import UInt8

from echoapex.data.datasets.camus import PHASES, STRUCTURES, VIEW_NAMES, CamusImage, open_camus
from echoapex.data.preprocess import prepare_image, probabilities_to_native
from echoapex.infer.clip.models import Interpreter, TaskInterpreter
from echoapex.io.sector import find_sector
from echoapex.metrics.segmentation import dice
from echoapex.models.registry import DEFAULT_SET
from echoapex.vocabulary import VISIBLE_STRUCTURES, Structure

Labels = UInt8[np.ndarray, "height width"]
_STEP_PX = 0.5


def border_errors(truth: Labels, found: Labels) -> dict[str, float]:
    """Signed distances of the borders of the LV in percent of its true length; empty without an LV in both.

    The long axis is the direction in which the true cavity is longest, from the apex down.
    """
    cavity = _places(truth == Structure.LV_CAVITY)
    if len(cavity) < 2 or not (found == Structure.LV_CAVITY).any():
        return {}
    centre = cavity.mean(axis=0)
    axis = np.linalg.svd(cavity - centre, full_matrices=False)[2][0]
    axis = axis if axis[1] > 0 else -axis
    along = (cavity - centre) @ axis
    length = float(np.ptp(along))

    def apex(labels: Labels, *structures: Structure) -> float:
        return float(((_places(np.isin(labels, structures)) - centre) @ axis).min())

    heart = (Structure.LV_CAVITY, Structure.LV_MYOCARDIUM)
    apart = {
        "apex, inner": apex(truth, Structure.LV_CAVITY) - apex(found, Structure.LV_CAVITY),
        "apex, outer": apex(truth, *heart) - apex(found, *heart),
    }
    middle = centre + axis * (along.min() + length / 2)
    true_sides, found_sides = (_sides(labels, middle, np.array([axis[1], -axis[0]])) for labels in (truth, found))
    if true_sides and found_sides:
        apart["left side, inner"] = true_sides[0] - found_sides[0]
        apart["right side, inner"] = found_sides[1] - true_sides[1]
    return {name: 100 * distance / length for name, distance in apart.items()}


def _places(inside: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(inside)
    return np.column_stack([columns, rows]).astype(float)


def _sides(labels: Labels, middle: np.ndarray, across: np.ndarray) -> tuple[float, float] | None:
    """Where a line across the LV enters and leaves its cavity, in pixels from the middle."""
    steps = np.arange(-sum(labels.shape), sum(labels.shape), _STEP_PX)
    limits = np.array(labels.shape[::-1]) - 1
    columns, rows = np.clip(np.rint(middle + steps[:, None] * across).astype(int), 0, limits).T
    inside = steps[labels[rows, columns] == Structure.LV_CAVITY]
    return (float(inside.min()), float(inside.max())) if len(inside) else None


def outline(interpreter: Interpreter, image: CamusImage) -> tuple[Labels, Labels]:
    """The true and the found label map of a still, in its own pixels."""
    pixels, transform = prepare_image(image.pixels, find_sector(image.pixels[None]), interpreter.input_size)
    sought = VISIBLE_STRUCTURES[image.view]
    ((_, probabilities, _),) = interpreter.segment(interpreter.encode(pixels[None], (0.0,)), (0,), sought)
    return image.labels, probabilities_to_native(probabilities, transform, [int(structure) for structure in sought])


def images(root: Path, patients: int) -> Iterator[tuple[str, CamusImage]]:
    """Stills of the last patients of the training split, each with its name, for example ``4CH ES``."""
    dataset = open_camus(root)
    for patient in [one for one in dataset.patients if one.split == "train"][-patients:]:
        for view, name in VIEW_NAMES.items():
            for phase in PHASES:
                image = dataset.read_image(patient, view, phase)
                if image is not None:
                    yield f"{name} {phase}", image


def measure(root: Path, interpreter: Interpreter, patients: int) -> dict[str, Any]:
    """Mean Dice of each structure, and the medians of the distances for each view and phase."""
    overlaps: dict[str, list[float]] = defaultdict(list)
    apart: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, image in images(root, patients):
        truth, found = outline(interpreter, image)
        for structure in STRUCTURES:
            overlaps[structure.key].append(float(dice(truth == structure, found == structure)))
        for border, distance in border_errors(truth, found).items():
            apart[name][border].append(distance)
    return {
        "patients": patients,
        "dice": {key: round(float(np.mean(values)), 4) for key, values in overlaps.items()},
        "borders_percent": {
            name: {border: round(float(np.median(values)), 1) for border, values in borders.items()}
            for name, borders in apart.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of CAMUS in either layout")
    parser.add_argument("--bundle", default=DEFAULT_SET)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = measure(given.root, TaskInterpreter.load(given.bundle), given.patients)
    tell_figures({"bundle": str(given.bundle), **found}, given.out)


if __name__ == "__main__":
    main()
