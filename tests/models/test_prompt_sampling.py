from __future__ import annotations

import numpy as np
import pytest

from echoapex.models.prompt_sampling import Click, centre_point, correction_click, jittered_box, negative_click


def rectangle(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Pixels x0 to x1 and y0 to y1, both included."""
    mask = np.zeros(size, dtype=bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def test_the_centre_of_a_square_is_its_middle() -> None:
    assert centre_point(rectangle(10, 20, 20, 30)) == (15.0, 25.0)


def test_the_centre_of_a_crescent_lies_in_it() -> None:
    rows, columns = np.mgrid[:60, :80]
    disc = (rows - 30) ** 2 + (columns - 30) ** 2 < 400
    crescent = disc & ~((rows - 30) ** 2 + (columns - 36) ** 2 < 400)
    x, y = centre_point(crescent)
    assert crescent[int(y), int(x)]


def test_the_edge_of_the_image_is_a_border() -> None:
    assert centre_point(np.ones((21, 31), dtype=bool))[1] == 10.0


def test_hasty_clicks_stay_inside_and_differ() -> None:
    region, rng = rectangle(10, 10, 50, 40), np.random.default_rng(0)
    points = [centre_point(region, rng) for _ in range(50)]
    # half the largest depth of 16 pixels away from the border
    assert all(17 <= x <= 43 and 17 <= y <= 33 for x, y in points)
    assert len(set(points)) > 20


def test_the_same_generator_gives_the_same_prompts() -> None:
    region = rectangle(10, 10, 50, 40)
    first, second = (np.random.default_rng(7) for _ in range(2))
    assert centre_point(region, first) == centre_point(region, second)
    assert jittered_box(region, first) == jittered_box(region, second)
    assert negative_click(region, first) == negative_click(region, second)


def test_the_first_click_goes_into_the_structure() -> None:
    truth = rectangle(10, 20, 20, 30)
    assert correction_click(truth, np.zeros_like(truth)) == Click(15.0, 25.0, positive=True)


def test_the_larger_error_is_corrected_first() -> None:
    truth = rectangle(10, 10, 30, 30)
    predicted = truth | rectangle(50, 10, 70, 30)
    predicted[10:13, 10:13] = False
    click = correction_click(truth, predicted)
    assert click == Click(60.0, 20.0, positive=False)


def test_the_largest_connected_error_counts_and_not_the_sum() -> None:
    truth = rectangle(10, 10, 20, 20)
    scattered = np.zeros_like(truth)
    scattered[40:60:2, ::2] = True
    assert scattered.sum() > truth.sum()
    click = correction_click(truth, scattered)
    assert click is not None
    assert click.positive


def test_a_perfect_prediction_needs_no_click() -> None:
    truth = rectangle(10, 20, 20, 30)
    assert correction_click(truth, truth) is None


def test_corrections_end_in_the_truth() -> None:
    """Whoever repairs the part that is clicked needs no more clicks than there are errors."""
    truth = rectangle(10, 10, 30, 30)
    predicted = rectangle(40, 40, 50, 50) | rectangle(60, 5, 66, 9)
    repaired = 0
    while (click := correction_click(truth, predicted)) is not None:
        assert truth[int(click.y), int(click.x)] == click.positive
        for part in (truth, rectangle(40, 40, 50, 50), rectangle(60, 5, 66, 9)):
            if part[int(click.y), int(click.x)]:
                predicted = np.where(part, truth, predicted)
        repaired += 1
    assert repaired == 3


def test_negative_clicks_lie_beside_the_structure() -> None:
    truth, rng = rectangle(30, 20, 40, 30), np.random.default_rng(0)
    for _ in range(50):
        click = negative_click(truth, rng, nearest_px=3.0, farthest_px=8.0)
        assert click is not None
        beyond_x = max(30 - click.x, click.x - 40, 0)
        beyond_y = max(20 - click.y, click.y - 30, 0)
        assert not click.positive
        assert 3 <= np.hypot(beyond_x, beyond_y) <= 8


def test_where_all_is_structure_there_is_no_negative_click() -> None:
    assert negative_click(np.ones((9, 9), dtype=bool), np.random.default_rng(0)) is None


def test_an_absent_structure_has_negative_clicks_anywhere() -> None:
    assert negative_click(np.zeros((9, 9), dtype=bool), np.random.default_rng(0)) is not None


def test_a_box_without_jitter_is_the_bounding_box() -> None:
    assert jittered_box(rectangle(10, 20, 25, 30), np.random.default_rng(0), jitter=0.0) == (10.0, 20.0, 25.0, 30.0)


def test_a_jittered_box_is_off_by_a_few_percent_and_stays_in_the_image() -> None:
    truth, rng = rectangle(0, 20, 40, 59), np.random.default_rng(0)
    boxes = np.array([jittered_box(truth, rng, jitter=0.1) for _ in range(300)])
    error = boxes - np.array([0, 20, 40, 59])
    assert boxes.min() >= 0
    assert boxes[:, 3].max() <= 59
    assert np.abs(error[:, 2]).max() <= 8
    assert 2.5 < error[:, 2].std() < 5
    assert (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.mark.parametrize("draw", [centre_point, lambda mask: jittered_box(mask, np.random.default_rng(0))])
def test_nothing_cannot_be_clicked_or_boxed(draw) -> None:
    with pytest.raises(ValueError, match="check it before asking"):
        draw(np.zeros((5, 5), dtype=bool))
