from __future__ import annotations

import pytest
import torch
from torch import Tensor

from echoapex.losses.supervised import iou_loss, mask_loss
from echoapex.models.decoders.prompt_encoder import NO_STRUCTURE, PointLabel, PromptBatch, PromptError
from echoapex.models.decoders.promptable import ImageEmbedding, PromptableConfig, PromptableDecoder
from echoapex.vocabulary import Structure

ALL = tuple(Structure)


@pytest.fixture
def decoder() -> PromptableDecoder:
    return PromptableDecoder.build(PromptableConfig()).eval()


@pytest.fixture
def pyramidal(decoder: PromptableDecoder) -> PromptableDecoder:
    """The same decoder, given a pyramid."""
    grown = PromptableDecoder.build(PromptableConfig(pyramid_blocks=1)).eval()
    grown.load_state_dict(grown.with_fresh_pyramid(decoder.state_dict()))
    return grown


@pytest.fixture
def embedding(decoder: PromptableDecoder, make_tokens) -> ImageEmbedding:
    return decoder.embed(make_tokens(), torch.randn(2, 1, 64, 64))


def clicks(names: PromptBatch, *points: tuple[float, float, PointLabel]) -> PromptBatch:
    """The same points for every prompt."""
    shape = (*names.structures.shape, len(points))
    places = torch.tensor([[float(x), float(y)] for x, y, _ in points]).expand(*shape, 2)
    return names.with_points(places, torch.tensor([int(label) for *_, label in points]).expand(shape))


@pytest.mark.parametrize(("size", "side"), [(160, 10), (112, 8), (224, 14)])
@pytest.mark.parametrize("joint", [True, False])
def test_masks_at_half_resolution(decoder: PromptableDecoder, make_tokens, size: int, side: int, joint: bool) -> None:
    embedding = decoder.embed(make_tokens(side=side), torch.randn(2, 1, size, size))
    prediction = decoder(embedding, PromptBatch.of_structures(ALL, 2), joint=joint)
    assert prediction.logits.shape == (2, 6, size // 2, size // 2)
    assert prediction.iou.shape == (2, 6)
    assert ((prediction.iou >= 0) & (prediction.iou <= 1)).all()


def test_a_fresh_pyramid_changes_nothing(decoder: PromptableDecoder, pyramidal: PromptableDecoder, make_tokens) -> None:
    tokens, images = make_tokens(), torch.randn(2, 1, 64, 64)
    names = PromptBatch.of_structures(ALL, 2)
    before, after = (each(each.embed(tokens, images), names, joint=True) for each in (decoder, pyramidal))
    torch.testing.assert_close(after.logits, before.logits)


def test_a_pyramid_learns_from_the_first_step_on(pyramidal: PromptableDecoder, make_tokens) -> None:
    embedding = pyramidal.embed(make_tokens(), torch.randn(2, 1, 64, 64))
    pyramidal(embedding, PromptBatch.of_structures(ALL, 2), joint=True).logits.square().mean().backward()
    last = pyramidal.get_submodule("pyramid.half_out").weight.grad
    assert isinstance(last, Tensor) and last.abs().max() > 0


def test_weights_with_a_pyramid_stay_as_they_are(pyramidal: PromptableDecoder) -> None:
    trained = {name: tensor + 1 for name, tensor in pyramidal.state_dict().items()}
    kept = PromptableDecoder.build(pyramidal.config).with_fresh_pyramid(trained)
    assert all(torch.equal(kept[name], tensor) for name, tensor in trained.items())


def test_a_pyramid_names_the_sizes_that_it_takes(pyramidal: PromptableDecoder, make_tokens) -> None:
    with pytest.raises(ValueError, match="84 x 84 pixels has no eighth; use multiples of 8"):
        pyramidal.embed(make_tokens(side=6), torch.randn(2, 1, 84, 84))


def test_independent_prompts_do_not_see_each_other(decoder: PromptableDecoder, embedding: ImageEmbedding) -> None:
    together = decoder(embedding, PromptBatch.of_structures(ALL, 2))
    for column, structure in enumerate(ALL):
        alone = decoder(embedding, PromptBatch.of_structures((structure,), 2))
        torch.testing.assert_close(alone.logits[:, 0], together.logits[:, column], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone.iou[:, 0], together.iou[:, column])


def test_joint_names_see_each_other(decoder: PromptableDecoder, embedding: ImageEmbedding) -> None:
    two = decoder(embedding, PromptBatch.of_structures(ALL[:2], 2), joint=True)
    six = decoder(embedding, PromptBatch.of_structures(ALL, 2), joint=True)
    assert not torch.allclose(two.logits, six.logits[:, :2], atol=1e-3)


def test_the_order_of_joint_names_does_not_matter(decoder: PromptableDecoder, embedding: ImageEmbedding) -> None:
    forwards = decoder(embedding, PromptBatch.of_structures(ALL, 2), joint=True)
    backwards = decoder(embedding, PromptBatch.of_structures(ALL[::-1], 2), joint=True)
    torch.testing.assert_close(backwards.logits.flip(1), forwards.logits, atol=1e-4, rtol=1e-4)


def test_one_name_is_the_same_jointly_and_independently(decoder: PromptableDecoder, embedding: ImageEmbedding) -> None:
    names = PromptBatch.of_structures((Structure.LEFT_ATRIUM,), 2)
    jointly, independently = decoder(embedding, names, joint=True), decoder(embedding, names)
    torch.testing.assert_close(jointly.logits, independently.logits)
    torch.testing.assert_close(jointly.iou, independently.iou)


def test_names_that_fill_up_change_nothing(decoder: PromptableDecoder, embedding: ImageEmbedding) -> None:
    short = decoder(embedding, PromptBatch.of_names(torch.tensor([[1, 3], [2, 4]])), joint=True)
    filled = PromptBatch.of_names(torch.tensor([[1, 3, NO_STRUCTURE], [2, 4, NO_STRUCTURE]]))
    torch.testing.assert_close(decoder(embedding, filled, joint=True).logits[:, :2], short.logits, atol=1e-4, rtol=1e-4)


def test_padding_points_change_nothing(decoder: PromptableDecoder, embedding: ImageEmbedding) -> None:
    names = PromptBatch.of_structures(ALL[:3], 2)
    one = clicks(names, (20, 30, PointLabel.POSITIVE))
    padded = clicks(one, (5, 60, PointLabel.PADDING), (0, 0, PointLabel.PADDING))
    torch.testing.assert_close(decoder(embedding, padded).logits, decoder(embedding, one).logits, atol=1e-4, rtol=1e-4)


def test_every_kind_of_prompt_is_heard(decoder: PromptableDecoder, embedding: ImageEmbedding) -> None:
    names = PromptBatch.of_structures(ALL[:1], 2)
    plain = decoder(embedding, names).logits
    heard = [
        decoder(embedding, clicks(names, (20, 30, PointLabel.POSITIVE))).logits,
        decoder(embedding, clicks(names, (20, 30, PointLabel.NEGATIVE))).logits,
        decoder(embedding, clicks(names, (40, 30, PointLabel.POSITIVE))).logits,
        decoder(
            embedding, clicks(names, (9, 9, PointLabel.BOX_FIRST_CORNER), (50, 50, PointLabel.BOX_LAST_CORNER))
        ).logits,
        decoder.refine(embedding, torch.randn(2, 1, 32, 32), names).logits,
        decoder(embedding, PromptBatch.of_names(torch.full((2, 1), NO_STRUCTURE))).logits,
    ]
    answers = [plain, *heard]
    differences = [(a - b).abs().max().item() for i, a in enumerate(answers) for b in answers[:i]]
    assert min(differences) > 1e-3


def test_images_do_not_see_each_other(decoder: PromptableDecoder, make_tokens) -> None:
    tokens, images = make_tokens(images=3), torch.randn(3, 1, 64, 64)
    names = PromptBatch.of_structures(ALL, 3)
    prompts = clicks(names, (20, 30, PointLabel.POSITIVE))
    together = decoder(decoder.embed(tokens, images), prompts)
    last = [type(t)(t.class_token[2:], t.registers[2:], t.patches[2:], t.grid) for t in tokens]
    alone_prompts = PromptBatch(prompts.structures[2:], prompts.points_xy[2:], prompts.point_labels[2:])
    alone = decoder(decoder.embed(last, images[2:]), alone_prompts)
    torch.testing.assert_close(alone.logits[0], together.logits[2], atol=1e-4, rtol=1e-4)


def test_what_belongs_to_one_prompt_is_refused_jointly(decoder: PromptableDecoder, embedding: ImageEmbedding) -> None:
    names = PromptBatch.of_structures(ALL, 2)
    with pytest.raises(PromptError, match="decode them with joint=False"):
        decoder(embedding, clicks(names, (20, 30, PointLabel.POSITIVE)), joint=True)
    with pytest.raises(PromptError, match="decode them with joint=False"):
        decoder(embedding, names.with_masks(torch.zeros(2, 6, 32, 32)), joint=True)


def test_prompts_for_another_number_of_images_are_refused(
    decoder: PromptableDecoder, embedding: ImageEmbedding
) -> None:
    with pytest.raises(PromptError, match="3 rows of prompts for 2 images"):
        decoder(embedding, PromptBatch.of_structures(ALL, 3))


def test_another_number_of_depths_is_refused(decoder: PromptableDecoder, make_tokens) -> None:
    with pytest.raises(ValueError, match="got tokens of 3 depths, this decoder reads 4"):
        decoder.embed(make_tokens(depths=3), torch.randn(2, 1, 64, 64))


def discs(centres: list[tuple[float, float]], radius: float) -> Tensor:
    """Discs at half resolution of a 64 x 64 image; centres in input pixels."""
    axis = 2 * torch.arange(32.0) + 0.5
    distance = [((axis[:, None] - y).square() + (axis - x).square()).sqrt() for x, y in centres]
    return (torch.stack(distance) < radius).float()


def test_it_learns_names_by_heart(make_tokens) -> None:
    decoder = PromptableDecoder.build(PromptableConfig())
    tokens, images = make_tokens(), torch.randn(2, 1, 64, 64)
    truth = torch.stack((discs([(20, 20), (44, 40), (20, 50)], 12), discs([(40, 20), (16, 40), (50, 50)], 10)))
    names = PromptBatch.of_structures(ALL[:3], 2)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-3)
    losses = []
    for _ in range(60):
        prediction = decoder(decoder.embed(tokens, images), names, joint=True)
        loss = mask_loss(prediction.logits, truth) + iou_loss(prediction.iou, prediction.logits, truth)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    inside = prediction.logits > 0
    dice = 2 * (inside & (truth > 0)).sum(dim=(2, 3)) / (inside.sum(dim=(2, 3)) + truth.sum(dim=(2, 3)))
    assert losses[-1] < losses[0] / 10
    assert dice.min() > 0.9


def test_it_learns_to_follow_a_click(make_tokens) -> None:
    """The same image every time: only the click says which of the places is meant."""
    decoder = PromptableDecoder.build(PromptableConfig())
    tokens, images = make_tokens(images=1, side=8), torch.zeros(1, 1, 64, 64)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(4)

    def overlap(count: int) -> tuple[Tensor, Tensor]:
        places = 12 + 40 * torch.rand(count, 2, generator=generator)
        truth = discs([(x, y) for x, y in places.tolist()], 10)[None]
        unnamed = PromptBatch.of_names(torch.full((1, count), NO_STRUCTURE))
        prompts = unnamed.with_points(places[None, :, None], torch.ones(1, count, 1, dtype=torch.long))
        prediction = decoder(decoder.embed(tokens, images), prompts)
        inside = prediction.logits > 0
        dice = 2 * (inside & (truth > 0)).sum(dim=(2, 3)) / (inside.sum(dim=(2, 3)) + truth.sum(dim=(2, 3)))
        return mask_loss(prediction.logits, truth), dice

    for _ in range(120):
        loss, _ = overlap(8)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert overlap(32)[1].mean() > 0.75
