"""The simulated person, driven against models whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from click_oracles import RightAfter, click_image

from echoapex.domain.prompts import Prompt
from echoapex.evaluate.clicks import ClickCase, ClickProtocol, ClickRun, SimulatedPerson, ask_about
from echoapex.metrics import dice
from echoapex.vocabulary import Structure

PROTOCOL = ClickProtocol(clicks=6)
IMAGE = click_image()


def cases(model: RightAfter, protocol: ClickProtocol = PROTOCOL) -> dict[Structure, ClickCase]:
    return {case.structure: case for case in ask_about(model, IMAGE, protocol)}


@pytest.mark.parametrize("clicks", [1, 2, 4])
def test_the_number_of_clicks_is_the_one_that_the_model_needs(clicks: int) -> None:
    for case in cases(RightAfter(clicks)).values():
        assert case.from_nothing.clicks_to(0.9) == clicks
        assert case.from_name is not None
        assert case.from_name.clicks_to(0.9) == clicks
        assert case.from_nothing.dice[clicks:] == (1.0,) * (7 - clicks)
        assert len(case.from_nothing.positive) == clicks, "nobody clicks on a perfect mask"


def test_a_model_that_never_gets_there_is_never() -> None:
    case = cases(RightAfter(7))[Structure.LV_CAVITY]
    assert case.from_nothing.clicks_to(0.9) is None
    assert len(case.from_nothing.positive) == 6
    assert case.name == case.from_name.dice[0]
    assert 0.5 < case.name < 0.9


def test_the_first_click_is_the_deepest_place_and_the_next_lies_in_the_largest_error() -> None:
    model = RightAfter(2)
    truth = IMAGE.truth(Structure.LEFT_ATRIUM)
    SimulatedPerson(model, model.encode(IMAGE.pixels), truth).click(2)
    (first, nothing), (second, earlier) = model.asked
    (x, y) = first.positive_xy[0]
    assert nothing is None
    assert min(x - 14, 31 - x, y - 31, 44 - y) == 6, "the rectangle is twelve high, so that no place is deeper"
    assert earlier is not None
    assert second.positive_xy[0] == (x, y)
    (x, y) = second.positive_xy[1]
    assert truth[int(y), int(x)]
    assert not earlier[int(y), int(x)] > 0


def test_what_is_too_much_gets_a_negative_click() -> None:
    class Everything(RightAfter):
        def segment(self, encoded: np.ndarray, prompt: Prompt, previous_logits: np.ndarray | None = None) -> np.ndarray:
            answer = super().segment(encoded, prompt, previous_logits)
            return answer if len(self.asked) > 1 else np.ones_like(answer)

    model = Everything(2)
    run = SimulatedPerson(model, model.encode(IMAGE.pixels), IMAGE.truth(Structure.LV_CAVITY)).click(5)
    assert run.positive == (True, False)
    assert run.dice[2] == 1
    (x, y) = model.asked[1][0].negative_xy[0]
    assert not IMAGE.truth(Structure.LV_CAVITY)[int(y), int(x)]


def test_the_earlier_mask_can_be_withheld() -> None:
    model = RightAfter(3)
    person = SimulatedPerson(model, model.encode(IMAGE.pixels), IMAGE.truth(Structure.LV_CAVITY))
    person.click(3)
    assert [earlier is None for _, earlier in model.asked] == [True, False, False]
    model.asked.clear()
    person.click(3, show_earlier_mask=False)
    assert [earlier is None for _, earlier in model.asked] == [True, True, True]


def test_a_click_is_obeyed_where_the_answer_agrees_with_it() -> None:
    model = RightAfter(3)
    person = SimulatedPerson(model, model.encode(IMAGE.pixels), IMAGE.truth(Structure.LEFT_ATRIUM))
    assert person.click(3).obeyed == (True, False, True), "the second lies in the half that is still missing"


def test_a_model_without_names_is_never_told_one() -> None:
    model = RightAfter(2, understands_names=False)
    for case in cases(model).values():
        assert (case.name, case.from_name, case.box_and_name) == (None, None, None)
        assert case.box > 0
    assert all(prompt.structure is None for prompt, _ in model.asked)


def test_boxes_depend_on_seed_and_case_only() -> None:
    def boxes(protocol: ClickProtocol) -> list[object]:
        model = RightAfter(1)
        list(ask_about(model, IMAGE, protocol))
        return [prompt.box_xyxy for prompt, _ in model.asked if prompt.box_xyxy]

    assert boxes(PROTOCOL) == boxes(PROTOCOL.model_copy(update={"clicks": 2}))
    assert boxes(PROTOCOL) != boxes(PROTOCOL.model_copy(update={"seed": 1}))
    exact = boxes(PROTOCOL.model_copy(update={"box_jitter": 0.0}))
    assert exact[0] == (15, 9, 30, 29)


def test_box_alone_is_scored_by_its_answer() -> None:
    case = cases(RightAfter(1))[Structure.LV_CAVITY]
    truth = IMAGE.truth(Structure.LV_CAVITY)
    assert case.box == dice(truth, np.roll(truth, 2, axis=1))


def test_clicks_that_made_it_worse_are_counted() -> None:
    run = ClickRun((0.0, 0.8, 0.7, 0.6995, 0.9, 0.9), (True, False, True, True))
    assert run.worsened == 1
    assert run.clicks_to(0.75) == 1
    assert ClickRun((0.95, 0.95), ()).clicks_to(0.9) == 0
