"""The cost of a frame: every shape is timed, and told beside the one that ships."""

from encoder_cost import SHAPES, SHIPPED, Shape, measure

from echoapex.models.bundle import read_card
from echoapex.models.registry import default_set


def test_every_shape_is_timed_beside_the_shipped_one() -> None:
    found = measure([SHIPPED, Shape("tiny", 16, 64)], frames=1, rounds=1)
    assert list(found) == ["tiny/16 at 192", "tiny/16 at 64"]
    assert found["tiny/16 at 192"]["ratio"] == 1
    assert all(figures["cpu_ms_per_frame"] > 0 for figures in found.values())


def test_the_shipped_shape_is_the_one_that_ships() -> None:
    card = read_card(default_set().encoder)
    assert SHIPPED in SHAPES
    assert (card.architecture["size"], card.architecture["patch_size"]) == SHIPPED[:2]
    assert card.preprocessing.size == (SHIPPED.side, SHIPPED.side)
