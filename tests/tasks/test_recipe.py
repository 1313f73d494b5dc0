"""What the card of a bundle says comes from the recipe's provenance and the run."""

import pytest
from pydantic import ValidationError

from echoapex.tasks.recipe import Provenance


def test_a_card_carries_everything_that_the_provenance_says() -> None:
    provenance = Provenance(
        name="tiny",
        licence="CC-BY-NC-SA-4.0",
        non_commercial=True,
        training_data=("seeds 0-9",),
        notes=("a note",),
        seed=3,
        cost="2 steps",
        metrics={"validation/dice": 0.9},
    )
    card = provenance.card("encoder", 64, architecture={"size": "tiny"})
    assert card.kind == "encoder"
    assert card.preprocessing.size == (64, 64)
    for name in Provenance.model_fields:
        assert getattr(card, name) == getattr(provenance, name), name


def test_the_card_of_a_task_needs_its_encoder() -> None:
    with pytest.raises(ValidationError, match="base_encoder_sha256"):
        Provenance(name="tiny", training_data=()).card("task", 64, task="segmentation", architecture={})


def test_training_data_must_be_named() -> None:
    with pytest.raises(ValidationError, match="training_data"):
        Provenance.model_validate({"name": "tiny"})
