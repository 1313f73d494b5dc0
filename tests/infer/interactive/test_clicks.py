"""The promptable decoder asked in native pixels: prompts go there and masks come home without a shift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_clips import draw_clip
from tiny_tasks import IMAGE_SIZE, PROVENANCE, build_tasks, interactive_segmenter, multitask_recipe, save_set

from echoapex.domain import FrameTransform
from echoapex.domain.prompts import Prompt
from echoapex.infer.interactive.clicks import OUTSIDE_LOGIT, InteractiveSegmenter, prompt_batch
from echoapex.models.adapter_merge import merge_adapter
from echoapex.models.decoders.prompt_encoder import NO_STRUCTURE, PointLabel
from echoapex.models.registry import find_set
from echoapex.recipes.recipe import LearningSetting
from echoapex.vocabulary import Structure

TASKS = build_tasks()
NATIVE = (96, 128)
CPU = torch.device("cpu")


def picture() -> np.ndarray:
    pixels, _, _ = draw_clip(3, frames=4, size=128)
    return np.ascontiguousarray(pixels[0][:96])


def test_points_and_masks_travel_to_model_pixels() -> None:
    transform = FrameTransform.crop_resize((10, 0, 106, 96), NATIVE, (64, 64))
    prompt = Prompt(
        NATIVE, ((10.0, 0.0),), ((58.0, 47.5),), box_xyxy=(9.5, 0.5, 105.5, 95.5), structure=Structure.LEFT_ATRIUM
    )
    logits = np.full(NATIVE, -3.0, np.float32)
    logits[:, :58] = 3
    batch = prompt_batch(prompt, logits, transform, CPU)
    scale = 64 / 96
    expected = [[0.5 * scale - 0.5] * 2, [48.5 * scale - 0.5, 48 * scale - 0.5]]
    assert np.allclose(batch.points_xy[0, 0, :2], expected)
    assert np.allclose(batch.points_xy[0, 0, 2:], [[-0.5, 1 * scale - 0.5], [64 - 0.5, 64 - 0.5]], atol=0.4)
    assert batch.point_labels[0, 0].tolist() == [
        PointLabel.POSITIVE,
        PointLabel.NEGATIVE,
        PointLabel.BOX_FIRST_CORNER,
        PointLabel.BOX_LAST_CORNER,
    ]
    assert batch.structures.tolist() == [[Structure.LEFT_ATRIUM]]
    assert batch.mask_logits is not None
    inside = batch.mask_logits[0, 0] > 0
    assert inside[:, :32].all()
    assert not inside[:, 33:].any()
    unnamed = prompt_batch(Prompt(NATIVE, ((20.0, 20.0),)), None, transform, CPU)
    assert unnamed.structures.tolist() == [[NO_STRUCTURE]]
    assert unnamed.mask_logits is None


def test_a_name_is_the_automatic_pass_in_native_pixels() -> None:
    model, image = interactive_segmenter(TASKS), picture()
    encoded = model.encode(image)
    logits = model.segment(encoded, Prompt(NATIVE, structure=Structure.LV_CAVITY))
    assert logits.shape == NATIVE
    (_, probabilities, _) = next(
        TASKS.multitask.segmentation.predict(
            model.encode_pixels(_prepared(image)[None], (0.0,)), [0], [Structure.LV_CAVITY]
        )
    )
    rows, columns = np.mgrid[10:90:20, 10:120:20]
    model_rows = (rows + 0.5 + 0) * IMAGE_SIZE / 128 - 0.5
    model_columns = (columns + 0.5) * IMAGE_SIZE / 128 - 0.5
    nearest = probabilities[0][np.rint(model_rows).astype(int), np.rint(model_columns).astype(int)]
    assert np.abs(1 / (1 + np.exp(-logits[rows, columns])) - nearest).max() < 0.1


def _prepared(image: np.ndarray) -> np.ndarray:
    from echoapex.data.preprocess import prepare_image

    return prepare_image(image, None, IMAGE_SIZE)[0]


def test_an_earlier_mask_may_come_as_mask_or_as_logits() -> None:
    model = interactive_segmenter(TASKS, "decoder")
    encoded = model.encode(picture())
    mask = np.zeros(NATIVE, bool)
    mask[30:60, 40:80] = True
    click = ((50.0, 40.0),)
    by_mask = model.segment(encoded, Prompt(NATIVE, click, mask=mask))
    logits = np.where(mask, -OUTSIDE_LOGIT, OUTSIDE_LOGIT).astype(np.float32)
    assert np.array_equal(by_mask, model.segment(encoded, Prompt(NATIVE, click), logits))
    assert not np.allclose(by_mask, model.segment(encoded, Prompt(NATIVE, click))), "the decoder sees the mask"


def test_corrections_are_merged_unless_the_bare_decoder_is_asked_for() -> None:
    earlier = np.full(NATIVE, -2.0, np.float32)
    earlier[30:60, 40:80] = 2
    prompt = Prompt(NATIVE, negative_xy=((50.0, 40.0),))
    answers = {}
    for refinement in ("merged", "decoder", "brush"):
        model = interactive_segmenter(TASKS, refinement)
        answers[refinement] = model.segment(model.encode(picture()), prompt, earlier)
    assert answers["merged"][40, 50] < 0
    assert answers["brush"][40, 50] < 0
    changed = answers["brush"] != earlier
    assert changed[40, 50]
    assert (np.abs(answers["brush"] - earlier) > 0.01).mean() < 0.2, "the brush stays near the click"
    assert not np.array_equal(answers["merged"], answers["decoder"])
    with pytest.raises(ValueError, match="merged, decoder, brush"):
        interactive_segmenter(TASKS, "best")


def test_sizes_must_agree() -> None:
    model = interactive_segmenter(TASKS)
    encoded = model.encode(picture())
    with pytest.raises(ValueError, match="the frame of"):
        model.segment(encoded, Prompt((64, 64), ((3.0, 3.0),)))
    with pytest.raises(ValueError, match="the frame of"):
        model.segment(encoded, Prompt(NATIVE, ((3.0, 3.0),)), np.zeros((64, 64), np.float32))


def test_a_set_is_loaded_with_the_digests_of_what_is_used(tmp_path: Path) -> None:
    model = InteractiveSegmenter.load(save_set(TASKS, tmp_path / "tiny"), "cpu")
    assert sorted(model.digests) == ["tiny/encoder", "tiny/segmentation"]
    assert model.input_size == IMAGE_SIZE
    assert model.understands_names


def test_an_adapter_of_the_set_is_used(tmp_path: Path) -> None:
    recipe = multitask_recipe().model_copy(
        update={"start": save_set(TASKS, tmp_path / "plain"), "setting": LearningSetting(name="lora")}
    )
    task = recipe.build_task()
    assert task.adapter is not None
    torch.manual_seed(0)
    for parameter in task.adapter.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    recipe.export(task, tmp_path / "adapted", PROVENANCE)
    merged = merge_adapter(find_set(tmp_path / "adapted"), tmp_path / "merged").directory
    models = [InteractiveSegmenter.load(tmp_path / name, "cpu") for name in ("plain", "adapted")]
    without, adapted, by_itself = [
        model.encode(picture()).embedding.patches for model in (*models, InteractiveSegmenter.load(merged, "cpu"))
    ]
    assert sorted(models[1].digests) == ["adapted/encoder", "adapted/segmentation", "adapted/segmentation/adapter"]
    assert torch.allclose(adapted, by_itself, atol=0.02)
    assert not torch.allclose(adapted, without, atol=0.05)
