"""A clip is encoded frame by frame, in any chunks, in order, and comes back in single precision."""

import pytest
import torch
from drawn_clips import draw_clip
from tiny_tasks import BLOCKS, IMAGE_SIZE, TinyTasks

from echoapex.models.encoder import EncodedClip, chunks, encode_clip, standardise


def test_every_frame_is_encoded_once_at_every_depth(encoded: EncodedClip) -> None:
    assert encoded.frame_count == 5
    assert len(encoded.tokens) == len(BLOCKS)
    for tokens in encoded.tokens:
        assert tokens.patches.shape == (5, 16, 192)
        assert tokens.registers.shape == (5, 4, 192)
        assert tokens.class_token.dtype == torch.float16
    assert encoded.times_s.tolist() == pytest.approx([1.0, 1.05, 1.1, 1.15, 1.2])


def test_the_size_of_a_chunk_changes_nothing(tasks: TinyTasks, encoded: EncodedClip) -> None:
    pixels, _, truth = draw_clip(1, frames=5, size=IMAGE_SIZE)
    in_twos = encode_clip(tasks.multitask.encoder, BLOCKS, pixels, list(truth["times_s"]), chunk=2)
    for two, whole in zip(in_twos.tokens, encoded.tokens, strict=True):
        assert torch.allclose(two.patches.float(), whole.patches.float(), atol=0.01)
        assert torch.allclose(two.class_token.float(), whole.class_token.float(), atol=0.01)


def test_tokens_are_those_of_the_encoder(tasks: TinyTasks, encoded: EncodedClip) -> None:
    with torch.inference_mode():
        alone = tasks.multitask.encoder.forward_blocks(standardise(encoded.pixels[3:4]), BLOCKS)
    images, tokens = encoded.select([3])
    assert torch.equal(images, standardise(encoded.pixels[3:4]))
    for stored, exact in zip(tokens, alone, strict=True):
        assert stored.patches.dtype == torch.float32
        assert torch.allclose(stored.patches, exact.patches, atol=0.01)


def test_frames_are_selected_in_the_order_asked_for(encoded: EncodedClip) -> None:
    images, tokens = encoded.select([4, 0, 4])
    assert torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[1])
    assert torch.equal(tokens[0].patches[1], encoded.tokens[0].patches[0].float())
    assert tokens[2].class_token.shape == (3, 192)


def test_chunks_hold_everything_in_order() -> None:
    assert [list(part) for part in chunks([5, 3, 1, 2, 9], 2)] == [[5, 3], [1, 2], [9]]
    assert list(chunks([], 4)) == []
