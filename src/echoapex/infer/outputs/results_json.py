"""``results.json``: the whole report, and the JSON Schema that it keeps to.

``python -m echoapex.infer.outputs.results_json docs/reference/results.schema.json`` writes the schema.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from echoapex.domain import StudyReport
from echoapex.domain.report import SCHEMA_VERSION
from echoapex.io.atomic_file import write_bytes_atomically

FILE_NAME = "results.json"


def write_results(out: Path, report: StudyReport) -> Path:
    """Write the report."""
    return write_bytes_atomically(out / FILE_NAME, results_text(report).encode())


def results_text(report: StudyReport) -> str:
    """The report as JSON, as it is written to the file."""
    return report.model_dump_json(indent=1) + "\n"


def results_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``results.json``."""
    schema = StudyReport.model_json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:echoapex:results:{SCHEMA_VERSION}",
        "title": f"EchoApex results, version {SCHEMA_VERSION}",
    }
    return head | {key: value for key, value in schema.items() if key != "title"}


def write_schema(path: Path) -> Path:
    """Write the schema."""
    return write_bytes_atomically(path, (json.dumps(results_schema(), indent=1) + "\n").encode())


if __name__ == "__main__":
    write_schema(Path(sys.argv[1]))
