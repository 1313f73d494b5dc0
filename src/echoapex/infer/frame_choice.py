"""Which frames of a clip are outlined: enough for whole beats at full rate, and no more than a bound."""

from __future__ import annotations

import math
from collections.abc import Sequence

SPAN_S = 3.0
"""Length of clip that is outlined: at least two beats from 60 per minute upwards, one from 40."""


def choose_cycle_rows(times_s: Sequence[float], limit: int) -> tuple[int, ...]:
    """Rows of a clip to outline: all, or the first three seconds evenly strided down to ``limit``.

    A contiguous span keeps beats whole, where a stride over a long clip would take one frame of every beat.

    >>> choose_cycle_rows([0.0, 0.1, 0.2], 10)
    (0, 1, 2)
    >>> rows = choose_cycle_rows([i * 0.02 for i in range(2000)], 96)
    >>> rows[:3], len(rows)
    ((0, 2, 4), 76)

    Args:
        times_s: times of the rows, increasing.
        limit: most rows to return, at least 1.
    """
    if len(times_s) <= limit:
        return tuple(range(len(times_s)))
    within = sum(1 for time in times_s if time - times_s[0] <= SPAN_S)
    within = max(within, min(limit, len(times_s)))
    return tuple(range(0, within, math.ceil(within / limit)))
