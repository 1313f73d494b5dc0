"""The published schema is that of the code, and results keep to it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from infer.conftest import AnalysedStudy

from echoapex.infer.outputs.files import results_schema, write_schema

PUBLISHED = Path(__file__).parents[3] / "docs" / "reference" / "results.schema.json"


def test_the_published_schema_is_up_to_date(tmp_path: Path) -> None:
    fresh = write_schema(tmp_path / "results.schema.json").read_text()
    assert PUBLISHED.read_text() == fresh, (
        "write it again: python -m echoapex.infer.outputs.files docs/reference/results.schema.json"
    )


def test_results_keep_to_the_schema(analysed: AnalysedStudy) -> None:
    jsonschema.validate(json.loads((analysed.out / "results.json").read_text()), results_schema())


def test_the_schema_refuses_a_value_without_unit(analysed: AnalysedStudy) -> None:
    content = json.loads((analysed.out / "results.json").read_text())
    del content["measurements"][0]["unit"]
    with pytest.raises(jsonschema.ValidationError, match="unit"):
        jsonschema.validate(content, results_schema())
