"""Draws the badges of README from pyproject.toml, so that they are true and need no network.

    python docs/badges.py

A test compares the files with what this script draws.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
_BADGE = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20"
role="img" aria-label="{label}: {value}">
<rect width="{left}" height="20" fill="#444c56"/><rect x="{left}" width="{right}" height="20" fill="{colour}"/>
<g fill="#ffffff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
<text x="{label_x}" y="14">{label}</text><text x="{value_x}" y="14">{value}</text></g>
</svg>
"""
_LETTER_PX, _MARGIN_PX = 7, 12


def badges() -> dict[str, tuple[str, str, str]]:
    """Label, value and colour of each badge, by the name of its file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    python = project["requires-python"].removeprefix(">=")
    return {
        "badge-licence.svg": ("licence", project["license"], "#1f6feb"),
        "badge-python.svg": ("python", f"{python} or newer", "#1f6feb"),
        "badge-use.svg": ("use", "research only, not a medical device", "#b35900"),
    }


def draw_badge(label: str, value: str, colour: str) -> str:
    """A badge as SVG."""
    left, right = (len(text) * _LETTER_PX + _MARGIN_PX for text in (label, value))
    return _BADGE.format(
        label=label,
        value=value,
        colour=colour,
        left=left,
        right=right,
        width=left + right,
        label_x=left / 2,
        value_x=left + right / 2,
    )


def main() -> None:
    """Write every badge."""
    for name, parts in badges().items():
        (FOLDER / name).write_text(draw_badge(*parts), encoding="utf-8")


if __name__ == "__main__":
    main()
