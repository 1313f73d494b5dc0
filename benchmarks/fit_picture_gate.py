"""Fit the logistic model of the gate on the tuning half; print its coefficients as ``pixel_content`` holds them.

    python benchmarks/fit_picture_gate.py [--data FOLDER] [--drawn 80] [--save FILE]

Echocardiograms are taken as they are, as one frame, darker, and reduced to 112 pixels, so that quiet exports count.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from gate_cases import Case, drawn_cases, phantom_cases, real_cases
from scipy.optimize import minimize

from echoapex.io.content import PictureTraits, measure_traits, refuse_by_limits, soft_traits
from echoapex.io.sector import Shape, search_sector

MOST_CAMUS = 60
"""Frames of CAMUS that are fitted to, so that one scanner does not outweigh all others."""
SIGNS = {"sides": 1, "turning": 1, "axial": 1, "opening": -1, "rim_dark": 1}
"""Whether more of a trait speaks for an echocardiogram."""


def variants(case: Case) -> Iterator[list[np.ndarray]]:
    """The frames of a case; of an echocardiogram also weaker exports of them."""
    frames = case.frames()
    yield frames
    if case.is_echo and "CAMUS" not in case.group:
        yield frames[:1]
        yield [(255 * (frame / 255.0) ** 1.5).astype(np.uint8) for frame in frames]
        height, width = frames[0].shape[:2]
        yield [
            cv2.resize(frame, (112, max(1, 112 * height // width)), interpolation=cv2.INTER_AREA) for frame in frames
        ]


def measure(frames: Sequence[np.ndarray]) -> PictureTraits | None:
    """The traits of a picture that the limits let through; None for all others."""
    grey = np.stack([frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    search = search_sector(grey)
    if search.shape is not Shape.FAN:
        return None
    middle = frames[len(frames) // 2]
    traits = measure_traits(search, middle if middle.ndim == 3 else None)
    return None if refuse_by_limits(traits, search) else traits


def collect(folder: Path | None, drawn: int) -> tuple[list[PictureTraits], list[PictureTraits]]:
    """Traits of echocardiograms and of others, tuning half only."""
    real = [case for case in [*real_cases(folder), *phantom_cases()] if case.half == "tuning"]
    camus = [case for case in real if case.group.startswith("CAMUS")]
    kept = [case for case in real if not case.group.startswith("CAMUS")]
    kept += camus[:: max(1, len(camus) // MOST_CAMUS)]
    # a curved array, left out below, looks like an echocardiogram but for where its fan begins, which a limit decides
    clips = [np.stack([_rgb(frame) for frame in case.frames()]) for case in kept if case.is_echo][:30]
    cases = [
        *kept,
        *(
            case
            for case in drawn_cases(2 * drawn, {"tuning": clips, "judging": clips})
            if case.half == "tuning" and "curved" not in case.group
        ),
    ]
    found: tuple[list[PictureTraits], list[PictureTraits]] = ([], [])
    for case in cases:
        for frames in variants(case):
            traits = measure(frames)
            if traits is not None:
                found[0 if case.is_echo else 1].append(traits)
    return found


def fit(echo: Sequence[PictureTraits], others: Sequence[PictureTraits]) -> dict[str, object]:
    """Means and coefficients by trait, the intercept, and the scores between which the least one may be put.

    The sign of every coefficient is given by its meaning, so that a trait that only happens to differ weighs nothing.
    """
    names = list(SIGNS)
    values = np.array([[soft_traits(traits)[name] for name in names] for traits in [*echo, *others]])
    is_echo = np.arange(len(values)) < len(echo)
    means, spread = values[is_echo].mean(axis=0), values.std(axis=0) + 1e-6
    scaled = (values - means) / spread
    weight = np.where(is_echo, 0.5 / len(echo), 0.5 / max(1, len(others))) * len(values)

    def surprise(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        odds = scaled @ parameters[:-1] + parameters[-1]
        error = weight * (1 / (1 + np.exp(-odds)) - is_echo)
        value = (weight * (np.logaddexp(0, odds) - is_echo * odds)).sum() + 0.5 * np.square(parameters[:-1]).sum()
        return float(value), np.append(scaled.T @ error + parameters[:-1], error.sum())

    bounds = [(0, None) if sign > 0 else (None, 0) for sign in SIGNS.values()] + [(None, None)]
    found = minimize(surprise, np.zeros(len(names) + 1), jac=True, bounds=bounds, method="L-BFGS-B").x
    scores = scaled @ found[:-1] + found[-1]
    pairs = zip(names, means, found[:-1] / spread, strict=True)
    return {
        "traits": {name: (round(float(mean), 3), round(float(slope), 2)) for name, mean, slope in pairs},
        "intercept": round(float(found[-1]), 2),
        "lowest_echo": round(float(scores[is_echo].min()), 2),
        "highest_other": round(float(scores[~is_echo].max(initial=-np.inf)), 2),
        "echo": len(echo),
        "others": len(others),
    }


def _rgb(frame: np.ndarray) -> np.ndarray:
    return np.repeat(frame[..., None], 3, axis=2) if frame.ndim == 2 else frame


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of real pictures")
    parser.add_argument("--drawn", type=int, default=80, help="drawings of each kind")
    parser.add_argument("--save", type=Path, help="write the traits, to look at them")
    options = parser.parse_args(arguments)
    echo, others = collect(options.data, options.drawn)
    if options.save:
        options.save.write_text(json.dumps([[asdict(item) for item in side] for side in (echo, others)]))
    print(json.dumps(fit(echo, others), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
