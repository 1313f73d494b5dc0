from __future__ import annotations

import pytest
import torch

from echoapex.models.decoders.prompt_encoder import NO_STRUCTURE, PointLabel, PromptBatch, PromptError
from echoapex.vocabulary import Structure


def test_names_alone() -> None:
    prompts = PromptBatch.of_structures((Structure.LV_CAVITY, Structure.AORTIC_ROOT), 3)
    assert prompts.structures.tolist() == [[1, 6]] * 3
    assert prompts.points_xy.shape == (3, 2, 0, 2)
    assert prompts.names_only


def test_points_and_masks_are_added() -> None:
    names = PromptBatch.of_structures((Structure.LV_CAVITY,), 2)
    one = names.with_points(torch.ones(2, 1, 1, 2), torch.full((2, 1, 1), int(PointLabel.POSITIVE)))
    two = one.with_points(torch.zeros(2, 1, 1, 2), torch.full((2, 1, 1), int(PointLabel.NEGATIVE)))
    assert two.point_labels.tolist() == [[[1, 0]]] * 2
    assert two.points_xy[0, 0].tolist() == [[1, 1], [0, 0]]
    assert not one.names_only
    assert not names.with_masks(torch.zeros(2, 1, 8, 8)).names_only


def test_padding_points_are_no_points() -> None:
    names = PromptBatch.of_structures((Structure.LV_CAVITY,), 1)
    assert names.with_points(torch.zeros(1, 1, 3, 2), torch.full((1, 1, 3), int(PointLabel.PADDING))).names_only


@pytest.mark.parametrize(
    ("structures", "points", "labels", "masks", "message"),
    [
        ([[7]], (1, 1, 0, 2), [[[]]], None, "a structure is one of"),
        ([[0]], (1, 1, 0, 2), [[[]]], None, "a structure is one of"),
        ([[1]], (1, 1, 1, 2), [[[4]]], None, "a point label is one of -1 padding, 0 negative, 1 positive"),
        ([[1]], (1, 1, 2, 2), [[[1]]], None, "do not agree"),
        ([[1, 2]], (1, 1, 1, 2), [[[1]]], None, "do not agree"),
        ([[1]], (1, 1, 1, 2), [[[1]]], (1, 2, 8, 8), "earlier masks do not fit"),
    ],
)
def test_what_does_not_fit_is_refused(structures, points, labels, masks, message) -> None:
    with pytest.raises(PromptError, match=message):
        PromptBatch(
            torch.tensor(structures),
            torch.zeros(points),
            torch.tensor(labels, dtype=torch.long),
            None if masks is None else torch.zeros(masks),
        )


def test_an_unnamed_prompt_is_allowed() -> None:
    assert PromptBatch.of_names(torch.tensor([[NO_STRUCTURE, 3]])).names_only
