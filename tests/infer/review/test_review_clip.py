"""A clip under review answers prompts as the interactive clip does, and may be asked by many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from small_echo import FRAMES, write_small_study

from echoapex.domain.corrections import ClipCorrection
from echoapex.infer.clip.analyze import analyze_clip
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.interactive.propagation import InteractiveClip
from echoapex.infer.review.recomputation import ReviewError
from echoapex.infer.review.review_clip import ReviewClip, ReviewModels
from echoapex.io.clip_source import ClipSource
from echoapex.io.study_files import open_only_clip
from echoapex.models.prompt_sampling import Click
from echoapex.vocabulary import Structure, View

LV = Structure.LV_CAVITY


@pytest.fixture(scope="module")
def models() -> ReviewModels:
    return ReviewModels.load("phantom", "cpu", "fp32")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    folder: Path = tmp_path_factory.mktemp("review")
    return open_only_clip(write_small_study(folder, views=(View.A4C,))[0])


@pytest.fixture(scope="module")
def clip(models: ReviewModels, source: ClipSource) -> ReviewClip:
    return ReviewClip.open(models, source, clip_id="clip-7")


def test_a_clip_is_described(clip: ReviewClip) -> None:
    assert (clip.clip_id, clip.size, clip.frame_count) == ("clip-7", (96, 96), FRAMES)
    assert len(clip.frame_times_s) == FRAMES


def test_answers_are_those_of_the_interactive_clip(clip: ReviewClip, models: ReviewModels, source: ClipSource) -> None:
    plain = InteractiveClip.open(models.segmenter, source)
    assert np.allclose(clip.automatic(3, LV), plain.automatic(3, LV), atol=1e-3)
    clicks = [Click(48.0, 40.0, True), Click(30.0, 60.0, False)]
    expected = plain.correct(3, clicks, LV)
    assert np.allclose(clip.answer(3, LV, clicks).logits, expected, atol=1e-2)
    mask = clip.segment(3, LV, clicks)
    assert mask[40, 48]
    assert not mask[60, 30]
    assert 0 <= clip.answer(3, LV, clicks).iou <= 1
    carried = clip.propagate(3, LV, mask)
    assert np.mean(carried != plain.propagate(3, expected, LV)) < 1e-3
    assert np.array_equal(carried[3], mask)


def test_boxes_and_masks_are_prompts_too(clip: ReviewClip) -> None:
    boxed = clip.answer(2, None, box=(30.0, 20.0, 70.0, 70.0))
    assert boxed.logits.shape == clip.size
    drawn = np.zeros(clip.size, bool)
    drawn[40:60, 40:60] = True
    assert np.array_equal(clip.segment(2, LV, mask=drawn), drawn)
    corrected = clip.segment(2, LV, [Click(70.0, 30.0, True)], mask=drawn)
    assert corrected[30, 70]
    assert corrected[45:55, 45:55].all()


def test_a_brushed_mask_is_carried_where_it_contradicts_the_automatic_one(clip: ReviewClip) -> None:
    automatic = clip.automatic(4, LV) > 0
    drawn = automatic.copy()
    drawn[5:12, 5:12] = True
    masks = clip.propagate(4, LV, drawn)
    assert masks.shape == (FRAMES, 96, 96)
    assert np.array_equal(masks[4], drawn)
    assert masks[5, 7:10, 7:10].any()
    unnamed = clip.propagate(4, None, drawn)
    assert np.array_equal(unnamed[4], drawn)


def test_what_the_decoder_needs_of_a_frame(clip: ReviewClip) -> None:
    tensors = clip.embedding(0)
    assert list(tensors) == ["image_embeddings", "half_features", "quarter_features"]
    assert all(tensor.dtype == np.float32 and len(tensor) == 1 for tensor in tensors.values())
    assert tensors["half_features"].shape[-1] == clip.input_size // 2
    corner = clip.square_from_native @ np.array([48.0, 0.0, 1.0])
    assert 0 < corner[0] < clip.input_size


def test_reanalysis_and_questions_share_one_encoding(
    clip: ReviewClip, models: ReviewModels, source: ClipSource
) -> None:
    usual = analyze_clip(source, "clip-7", models.interpreter, AnalysisOptions())
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(clip.segment, frame, LV) for frame in range(4)]
        found = pool.submit(clip.reanalyze, ClipCorrection(clip_id="clip-7"))
        masks = [future.result() for future in asked]
        analysis = found.result()
    assert analysis.report.measurements == tuple(
        item.model_copy(
            update={
                "evidence": tuple(each.model_copy(update={"clip_id": "clip-7"}) for each in item.evidence),
            }
        )
        for item in usual.report.measurements
    )
    assert all(np.array_equal(mask, clip.segment(frame, LV)) for frame, mask in enumerate(masks))


def test_what_cannot_be_answered_is_said(clip: ReviewClip, models: ReviewModels, source: ClipSource) -> None:
    with pytest.raises(ReviewError, match="give a structure, a click, a box or a mask"):
        clip.answer(0)
    with pytest.raises(ReviewError, match="frame 99 is not in the clip"):
        clip.segment(99, LV)
    with pytest.raises(ReviewError, match="give native pixels"):
        clip.propagate(0, LV, np.zeros((3, 3), bool))
    closed = ReviewClip.open(models, source)
    closed.close()
    with pytest.raises(ReviewError, match="open it again"):
        closed.segment(0, LV)


def test_a_second_corrected_frame_keeps_the_first(clip: ReviewClip) -> None:
    first, second = np.zeros(clip.size, bool), np.zeros(clip.size, bool)
    first[20:50, 30:50] = True
    second[40:70, 50:70] = True
    masks = clip.propagate(10, LV, second, drawn={2: first})
    assert np.array_equal(masks[2], first)
    assert np.array_equal(masks[10], second)
    assert np.array_equal(masks[:7], clip.propagate(2, LV, first)[:7]), "frames follow the nearest mask"
    assert np.array_equal(masks[7:], clip.propagate(10, LV, second)[7:])
