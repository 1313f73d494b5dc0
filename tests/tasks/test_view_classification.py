"""Views of frames and of whole clips; what is unknown does not count."""

from dataclasses import replace

import pytest
import torch
from tiny_tasks import TinyTasks, frame_batch

from echoapex.models.decoders.linear import pool_frame
from echoapex.models.encoder import EncodedClip, Tokens, standardise
from echoapex.tasks.view_classification import ViewClassification, ViewLossConfig, fit_temperature
from echoapex.vocabulary import View


def test_unknown_views_do_not_count(tasks: TinyTasks) -> None:
    task, batch = tasks.multitask.view, frame_batch(4)
    half_known = replace(batch, view=torch.tensor([*batch.view[:2].tolist(), -1, -1]))
    first_half = frame_batch(2)
    assert task.loss(half_known).total.item() == pytest.approx(task.loss(first_half).total.item(), rel=1e-4)
    assert task.score(half_known) == pytest.approx(task.score(first_half), rel=1e-3)


def test_a_batch_without_any_view_teaches_nothing_and_scores_nothing(tasks: TinyTasks) -> None:
    task, batch = tasks.multitask.view, replace(frame_batch(2), view=torch.tensor([-1, -1]))
    loss = task.loss(batch).total
    assert loss.item() == 0
    loss.backward()
    assert not any(p.grad is not None and p.grad.any() for p in task.decoder.parameters())
    tasks.multitask.zero_grad()
    assert task.score(batch) == {}


def test_score_counts_the_frames_that_are_right(tasks: TinyTasks) -> None:
    task, batch = tasks.multitask.view, frame_batch(4)
    with torch.no_grad():
        images = standardise(batch.pixels)
        tokens = task.encoder.forward_blocks(images, task.blocks)
        answers = task._frame_logits(tokens[-1]).argmax(dim=1)
    three_right = answers.clone()
    three_right[2] = (three_right[2] + 1) % len(View)
    assert (
        task.summarise(task.cases_from_tokens(images, tokens, replace(batch, view=three_right)))["view_frame_accuracy"]
        == 0.75
    )


def test_a_clip_gets_a_probability_for_every_view(tasks: TinyTasks, encoded: EncodedClip) -> None:
    prediction = tasks.multitask.view.predict(encoded)
    assert set(prediction.probabilities) == set(View)
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_order_and_number_of_copies_of_frames_do_not_matter(tasks: TinyTasks, encoded: EncodedClip) -> None:
    def taken(rows: list[int]) -> EncodedClip:
        tokens = tuple(Tokens(t.class_token[rows], t.registers[rows], t.patches[rows], t.grid) for t in encoded.tokens)
        return EncodedClip(encoded.pixels[rows], tokens, encoded.times_s)

    expected = tasks.multitask.view.predict(encoded).probabilities
    for rows in ([4, 2, 0, 1, 3], [0, 1, 2, 3, 4] * 2):
        assert tasks.multitask.view.predict(taken(rows)).probabilities == pytest.approx(expected, abs=1e-5)


def test_temperature_softens_without_changing_the_view(tasks: TinyTasks, encoded: EncodedClip) -> None:
    view = tasks.multitask.view
    sharp, plain, soft = (
        ViewClassification(view.encoder, view.decoder, view.blocks, temperature).predict(encoded)
        for temperature in (0.1, 1.0, 10.0)
    )
    assert sharp.view is plain.view is soft.view
    assert sharp.probability > plain.probability > soft.probability


def test_the_temperature_undoes_what_was_done_to_the_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(4000, 5, generator=generator)
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=generator)[:, 0]
    assert fit_temperature(honest, labels) == pytest.approx(1, abs=0.08)
    assert fit_temperature(3 * honest, labels) == pytest.approx(3, abs=0.25)
    assert fit_temperature(0.5 * honest, labels) == pytest.approx(0.5, abs=0.05)


def test_cases_that_are_all_right_do_not_make_it_endlessly_sure() -> None:
    assert 0.2 <= fit_temperature(10 * torch.eye(4), torch.arange(4)) < 1


def test_mixup_asks_for_both_views_by_their_weight(tasks: TinyTasks) -> None:
    view, batch = tasks.multitask.view, frame_batch(6)
    images = standardise(batch.pixels)
    torch.manual_seed(0)
    tokens = [Tokens(5 * torch.randn(6, 192), torch.zeros(6, 4, 192), torch.randn(6, 16, 192), (4, 4))]
    plain = ViewClassification(view.encoder, view.decoder.eval(), view.blocks, config=ViewLossConfig(smoothing=0))
    mixed = ViewClassification(
        view.encoder, view.decoder, view.blocks, config=ViewLossConfig(smoothing=0, mixup=1e4)
    )  # the weight is a half, near enough
    torch.manual_seed(1)
    loss = mixed.loss_from_tokens(images, tokens, batch).total
    torch.manual_seed(1)
    torch.distributions.Beta(1e4, 1e4).sample()
    partner = torch.randperm(6)
    logits = mixed._logits(0.5 * pool_frame(tokens[-1]) + 0.5 * pool_frame(tokens[-1])[partner])
    nll = -logits.log_softmax(dim=1)
    expected = 0.5 * (nll.gather(1, batch.view[:, None]) + nll.gather(1, batch.view[partner][:, None])).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)
    assert loss.item() != pytest.approx(plain.loss_from_tokens(images, tokens, batch).total.item(), rel=1e-3)
    judged = [each.summarise(each.cases_from_tokens(images, tokens, batch)) for each in (mixed, plain)]
    assert judged[0] == judged[1], "never when it is judged"


def test_a_mixed_batch_without_any_view_teaches_nothing(tasks: TinyTasks) -> None:
    view, batch = tasks.multitask.view, replace(frame_batch(2), view=torch.tensor([-1, -1]))
    mixed = ViewClassification(view.encoder, view.decoder, view.blocks, config=ViewLossConfig(mixup=0.2))
    assert mixed.loss(batch).total.item() == 0
