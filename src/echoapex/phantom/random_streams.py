"""One random stream per purpose, so that a change in one draw never shifts another."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The purposes; the numbers are part of the simulator version and never change within it."""

    CLIP = 7
    PATIENT = 11
    IMAGING = 13
    POSE = 17
    HEART_SHAPE = 23
    FRAME = 29
    STUDY = 31


def random_stream(seed: int, stream: Stream, *keys: int) -> np.random.Generator:
    """The generator of one purpose; ``keys`` separate views or instants within it."""
    return np.random.default_rng([seed, int(stream), *keys])
