"""The published schema is that of the code, and cards keep to it."""

import json
from pathlib import Path

import jsonschema
import pytest
from card_parts import make_part

from echoapex.evaluate.card.build import CardContent, build_card
from echoapex.evaluate.card.card_file import card_schema, card_text, write_schema

PUBLISHED = Path(__file__).parents[3] / "docs" / "reference" / "card.schema.json"


def test_the_published_schema_is_up_to_date(tmp_path: Path) -> None:
    fresh = write_schema(tmp_path / "card.schema.json").read_text()
    assert PUBLISHED.read_text() == fresh, (
        "write it again: python -m echoapex.evaluate.card.card_file docs/reference/card.schema.json"
    )


def test_a_card_keeps_to_the_schema(tmp_path: Path) -> None:
    content = json.loads(card_text(build_card(CardContent("mine", [make_part(tmp_path)]))))
    jsonschema.validate(content, card_schema())
    assert len(content["agreements"]) == 5
    content["subtasks"].pop()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, card_schema())
