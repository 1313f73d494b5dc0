"""A known view replaces the found one, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np

from echoapex.infer.clip.models import Interpreter, ViewOverride
from echoapex.vocabulary import Structure, View


class Recorder:
    """Answers with the name of the question and what it was asked."""

    def __init__(self) -> None:
        self.input_size, self.digests = 64, {"encoder": "00"}

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: (name, arguments)


def test_only_the_view_is_told() -> None:
    known: Interpreter = ViewOverride(Recorder(), View.A2C)  # type: ignore[arg-type]
    prediction = known.classify_view(object())
    assert prediction.view is View.A2C
    assert prediction.probability == 1
    assert (known.input_size, known.digests) == (64, {"encoder": "00"})
    pixels = np.zeros((1, 4, 4), np.uint8)
    structures = (Structure.LV_CAVITY,)
    assert known.encode(pixels, (0.0,)) == ("encode", (pixels, (0.0,)))
    assert known.segment("clip", (1,), structures) == ("segment", ("clip", (1,), structures))
    assert known.find_wall_points("clip", (1,)) == ("find_wall_points", ("clip", (1,)))
    assert known.estimate_ejection_fraction("clip") == ("estimate_ejection_fraction", ("clip",))
