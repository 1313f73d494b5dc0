"""Health of a container: exit code 0 when the DICOM node in it answers that all is well, else 1 and one line.

The address is ``ECHOAPEX_HEALTH_URL``, by default that of the node's settings. Needs the standard library only.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

DEFAULT_URL = "http://127.0.0.1:11180/health"
PATIENCE_S = 8.0


def find_problem(url: str) -> str:
    """What is wrong, in one line; empty when the node answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S):
            return ""
    except urllib.error.HTTPError as error:
        return " ".join(error.read(1000).decode(errors="replace").split()) or f"answered {error.code}"
    except (OSError, ValueError) as error:
        return f"no answer ({type(error).__name__})"


if __name__ == "__main__":
    problem = find_problem(os.environ.get("ECHOAPEX_HEALTH_URL", DEFAULT_URL))
    if problem:
        sys.stderr.write(f"{problem}\n")
    sys.exit(1 if problem else 0)
