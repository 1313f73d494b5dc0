"""How benchmarks tell what they found: JSON on standard output and, if wanted, the same in a file.

On standard error they say on which kind of machine they ran: with fast bf16 or without.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echoapex.models.precision import choose_precision


def tell_figures(found: Mapping[str, Any], out: Path | None) -> None:
    """Print what was found; write it to ``out`` as well, making its folder."""
    chosen = choose_precision("auto")
    sys.stderr.write(f"on a machine where precision auto is {chosen.name}: {chosen.reason}\n")
    text = json.dumps(found, indent=1) + "\n"
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    print(text, end="")
