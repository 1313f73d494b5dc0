"""How benchmarks tell what they found: JSON on standard output and, if wanted, the same in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def tell_figures(found: Mapping[str, Any], out: Path | None) -> None:
    """Print what was found; write it to ``out`` as well, making its folder."""
    text = json.dumps(found, indent=1) + "\n"
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    print(text, end="")
