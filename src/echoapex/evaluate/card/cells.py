"""What stands in the cells of the tables: values, intervals, goals; and tables made of such cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from echoapex.evaluate.card.card_file import Goal
from echoapex.evaluate.metrics_file import Score


def number_cell(value: float | None, digits: int) -> str:
    """A number with a true minus.

    >>> number_cell(-0.25, 1), number_cell(None, 1)
    ('−0.2', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def interval_cell(interval: tuple[float, float] | None, digits: int, mark: str = "") -> str:
    """Both ends; ``*`` marks an interval without width, ``mark`` any.

    >>> interval_cell((0.5, 1.0), 2), interval_cell((1.0, 1.0), 1), interval_cell((0.7, 1.0), 1, "†")
    ('0.50 to 1.00', '1.0 to 1.0*', '0.7 to 1.0†')
    """
    if interval is None:
        return "–"
    low, high = interval
    return " to ".join(number_cell(end, digits) for end in (low, high)) + (mark or "*" * (low == high))


def score_cell(score: Score, digits: int) -> str:
    """A value with its interval in smaller letters."""
    if score.value is None:
        return "–"
    interval = f' <span class="interval">{interval_cell(score.interval, digits)}</span>' if score.interval else ""
    return f"{number_cell(score.value, digits)}{interval}"


def goal_text(goal: Goal, *, higher_is_better: bool) -> str:
    """A goal, and whether it was met."""
    mark = '<span class="met">✓ met</span>' if goal.met else '<span class="unmet">✗ not met</span>'
    return f"{'≥' if higher_is_better else '≤'} {goal.value:g} {mark}"


def head_row(heads: Iterable[str]) -> str:
    """The row of the names of the columns."""
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f"<tr>{cells}</tr>"


def table(style: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls sideways where there is no room for it."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="{style}"><thead>{head_row(heads)}</thead><tbody>{body}</tbody></table></div>'
    )
