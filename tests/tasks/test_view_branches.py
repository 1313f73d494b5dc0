"""Two branches of a view count alike, and a clip is outlined in a few frames spread_rows over it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from tiny_tasks import TinyTasks

from echoapex.models.decoders.linear import ViewFromMasksConfig, ViewFromMasksDecoder
from echoapex.models.encoder import EncodedClip
from echoapex.tasks.view_classification import (
    MASK_BRANCH_FRAMES,
    ViewClassification,
    ViewFromMasks,
    draw_mask_maps,
    join_view_branches,
    product_of_experts,
    split_view_branches,
    spread_rows,
)


def test_both_branches_count_alike_whatever_their_scale() -> None:
    sure, unsure = torch.tensor([[4.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    assert torch.allclose(product_of_experts(sure, unsure), product_of_experts(unsure, sure))
    assert torch.allclose(product_of_experts(sure + 7, unsure - 3), product_of_experts(sure, unsure), atol=1e-6)
    assert product_of_experts(sure, unsure).argmax() == 0
    assert torch.allclose(product_of_experts(sure, sure), 2 * sure.log_softmax(dim=-1))
    assert torch.allclose(product_of_experts(sure, torch.zeros(1, 3)).log_softmax(dim=-1), sure.log_softmax(dim=-1)), (
        "silence changes nothing"
    )


def test_frames_are_spread_over_the_whole_clip() -> None:
    assert spread_rows(5, 8) == [0, 1, 2, 3, 4]
    rows = spread_rows(100, MASK_BRANCH_FRAMES)
    assert len(rows) == MASK_BRANCH_FRAMES
    assert rows[0] + rows[-1] in (99, 100)
    assert {after - before for before, after in pairwise(rows)} <= {12, 13}


def test_maps_are_shares_of_cells_and_hold_the_same_area(tasks: TinyTasks, encoded: EncodedClip) -> None:
    segmentation = tasks.multitask.segmentation
    images, tokens = encoded.select([0, 2])
    with torch.inference_mode():
        fine, coarse = (draw_mask_maps(segmentation.decoder, tokens, images, side) for side in (32, 8))
    assert coarse.maps.shape == (2, 6, 8, 8)
    assert torch.allclose(coarse.maps.mean(dim=(2, 3)), fine.maps.mean(dim=(2, 3)), atol=1e-4)
    assert coarse.overlap.shape == (2, 6)


def test_weights_of_both_branches_come_apart_as_they_were_joined() -> None:
    appearance, outlines = {"norm.weight": torch.ones(2)}, {"classifier.bias": torch.zeros(3)}
    assert split_view_branches(join_view_branches(appearance, outlines)) == (appearance, outlines)
    assert split_view_branches(appearance) == (appearance, {})


def test_outlines_change_the_view_of_a_clip_and_not_of_single_frames(tasks: TinyTasks, encoded: EncodedClip) -> None:
    view = tasks.multitask.view
    decoder = ViewFromMasksDecoder(ViewFromMasksConfig(side=8, width=4)).eval()
    decoder.classifier.bias.data[3] = 20.0
    reader = ViewFromMasks(tasks.multitask.segmentation.decoder, decoder)
    both = ViewClassification(view.encoder, view.decoder, view.blocks, mask_branch=reader).eval()
    before, after = view.predict(encoded), both.predict(encoded)
    assert list(after.probabilities.values())[3] > list(before.probabilities.values())[3]
    assert sum(after.probabilities.values()) == pytest.approx(1)
    _, tokens = encoded.select([0])
    assert torch.equal(view.frame_probabilities(tokens), both.frame_probabilities(tokens))
