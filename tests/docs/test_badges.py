"""The badges of README say what pyproject.toml says, and README shows each of them."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from badges import FOLDER, badges, draw_badge  # noqa: E402


def test_badges_are_true_and_shown() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, (label, value, colour) in badges().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == draw_badge(label, value, colour), "python docs/badges.py"
        assert f"![{label}: {value}](docs/pictures/{name})" in readme
