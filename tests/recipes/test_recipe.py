"""What the card of a bundle says comes from the recipe's provenance and the run."""

import ast
import inspect
from pathlib import Path

import pytest
from pydantic import ValidationError
from tiny_tasks import build_tasks, save_set

import echoapex
from echoapex.models.bundle import Card, Origin
from echoapex.recipes.recipe import Lineage, Provenance, TaskRecipe
from echoapex.recipes.runner import TASK_KINDS


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
    card = Lineage(provenance, ()).card("encoder", 64, architecture={"size": "tiny"})
    assert card.kind == "encoder"
    assert card.preprocessing.size == (64, 64)
    for name in set(Provenance.model_fields) - {"starting_weights"}:
        assert getattr(card, name) == getattr(provenance, name), name


def test_the_card_of_a_task_needs_its_encoder() -> None:
    with pytest.raises(ValidationError, match="base_encoder_sha256"):
        Lineage(Provenance(name="tiny", training_data=()), ()).card("task", 64, task="segmentation", architecture={})


def test_training_data_must_be_named() -> None:
    with pytest.raises(ValidationError, match="training_data"):
        Provenance.model_validate({"name": "tiny"})


BOUND = Origin(training_data=("bound clips",), licence="CC-BY-NC-SA-4.0", non_commercial=True)


def test_what_parents_learned_and_are_bound_to_follows_in_the_order_of_descent() -> None:
    free = Origin(training_data=("simulated",), licence="Apache-2.0")
    child = Origin(training_data=("own", "simulated"), licence="MIT").after([free, BOUND])
    assert child.training_data == ("own", "simulated", "bound clips")
    assert child.licence == "MIT; Apache-2.0; CC-BY-NC-SA-4.0"
    assert child.non_commercial
    assert not Origin(training_data=(), licence="MIT").after([free]).non_commercial
    grandchild = free.after([child])
    assert grandchild.licence == "Apache-2.0; MIT; CC-BY-NC-SA-4.0", "each licence once"


def test_weights_without_a_card_are_bound_until_their_origin_is_stated(tmp_path: Path) -> None:
    (tmp_path / "public.safetensors").write_bytes(b"weights")
    starts = [tmp_path / "public.safetensors"]
    card = Lineage(Provenance(name="own", training_data=("own",)), starts).card("encoder", 64, architecture={})
    assert card.non_commercial
    assert card.licence == "Apache-2.0; not stated for the weights in public.safetensors"
    assert card.training_data[0] == "own" and "public.safetensors (sha256 " in card.training_data[1]
    assert "went on from the file public.safetensors" in card.notes
    stated = Origin(training_data=("LVD-142M (Oquab et al., 2023)",), licence="Apache-2.0")
    known = Provenance(name="own", training_data=("own",), starting_weights=stated)
    card = Lineage(known, starts).card("encoder", 64, architecture={})
    assert (card.non_commercial, card.licence) == (False, "Apache-2.0")
    assert card.training_data == ("own", "LVD-142M (Oquab et al., 2023)")


def test_a_lineage_names_what_it_went_on_from(tmp_path: Path) -> None:
    save_set(build_tasks(), tmp_path / "set")
    starts = [tmp_path / "set" / name for name in ("encoder", "segmentation")]
    card = Lineage(Provenance(name="own", training_data=("own",)), starts).card("encoder", 64, architecture={})
    assert card.notes == ("went on from tiny 0.1.0",)
    assert card.training_data == ("own", "none: random weights")


def test_cards_of_runs_are_made_in_one_place_only() -> None:
    """By construction no card forgets its parents: only ``Lineage`` makes one, and it asks for them."""
    makers = []
    for path in sorted(Path(echoapex.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("Card", "Card.model_validate", "Card.model_construct"):
                makers.append(path.name)
    assert makers == ["recipe.py"]
    assert inspect.signature(Lineage).parameters["starts"].default is inspect.Parameter.empty
    for kind in TASK_KINDS.values():
        assert kind.starts is not TaskRecipe.starts, f"{kind.__name__} says what it goes on from"
        assert kind.export is TaskRecipe.export, "the lineage is built by the base class"
    assert Card.model_fields["licence"].is_required()
