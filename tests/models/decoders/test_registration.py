"""Every registered decoder passes the same battery."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from echoapex.config import ConfigError
from echoapex.models.decoders import DECODERS, build_decoder
from echoapex.models.decoders.linear import pool_frame
from echoapex.models.decoders.prompt_encoder import PromptBatch
from echoapex.models.decoders.promptable import PromptableDecoder
from echoapex.vocabulary import Structure

IMAGE_SIZE = 64


def ask(decoder: nn.Module, name: str, make_tokens: object) -> list[Tensor]:
    """Everything that a decoder answers to a batch of two."""
    tokens = make_tokens(images=2)  # type: ignore[operator]
    images = torch.randn(2, 1, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(2))
    if name == "linear":
        return [decoder(pool_frame(tokens[-1])[None], None)]
    if name == "outline_view":
        side = decoder.config.side  # type: ignore[union-attr]
        generator = torch.Generator().manual_seed(3)
        return [decoder(torch.rand(2, 6, side, side, generator=generator), torch.rand(2, 6, generator=generator))]
    if name == "multiscale":
        return [decoder(tokens, images)]
    if name == "spatiotemporal":
        read = decoder(tokens[-1].patches[None], torch.tensor([[0.0, 0.03]]), None)
        return [read.ef_percent, read.ef_log_variance, read.relative_volume]
    assert isinstance(decoder, PromptableDecoder)
    embedding = decoder.embed(tokens, images)
    names = PromptBatch.of_structures((Structure.LV_CAVITY, Structure.LEFT_ATRIUM), 2)
    automatic = decoder(embedding, names, joint=True)
    points = torch.tensor([[8.0, 9.0], [30.0, 40.0], [4.0, 4.0], [50.0, 60.0]]).expand(2, 2, 4, 2)
    clicked = names.with_points(points, torch.tensor([1, 0, 2, 3]).expand(2, 2, 4))
    refined = decoder.refine(embedding, automatic.logits.detach(), clicked)
    return [automatic.logits, automatic.iou, refined.logits, refined.iou]


@pytest.fixture(params=list(DECODERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_decoder_is_small(name: str) -> None:
    assert sum(parameter.numel() for parameter in build_decoder(name, {}).parameters()) <= 3_000_000


def test_gradients_reach_every_parameter(name: str, make_tokens: object) -> None:
    decoder = build_decoder(name, {})
    weighted = [(answer * torch.randn_like(answer)).sum() for answer in ask(decoder, name, make_tokens)]
    torch.stack(weighted).sum().backward()
    silent = [key for key, p in decoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


def test_the_same_question_has_the_same_answer(name: str, make_tokens: object) -> None:
    decoder = build_decoder(name, {}).eval()
    with torch.inference_mode():
        first, second = ask(decoder, name, make_tokens), ask(decoder, name, make_tokens)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_weights_survive_a_file(name: str, make_tokens: object, tmp_path: Path) -> None:
    saved, loaded = build_decoder(name, {}).eval(), build_decoder(name, {}).eval()
    save_file(saved.state_dict(), tmp_path / "weights.safetensors")
    loaded.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.inference_mode():
        before, after = ask(saved, name, make_tokens), ask(loaded, name, make_tokens)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_configuration_rebuilds_the_decoder(name: str) -> None:
    decoder = build_decoder(name, {"width": 48})
    values = decoder.config.model_dump(mode="json")  # type: ignore[union-attr, operator]
    again = build_decoder(name, values)
    shapes = [{key: value.shape for key, value in d.state_dict().items()} for d in (decoder, again)]
    assert values["width"] == 48
    assert shapes[0] == shapes[1]


def test_it_trains_in_bf16(name: str, make_tokens: object) -> None:
    decoder = build_decoder(name, {})
    with torch.autocast("cpu", torch.bfloat16):
        answers = ask(decoder, name, make_tokens)
    torch.stack([answer.float().square().mean() for answer in answers]).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in decoder.parameters() if p.grad is not None)
    full = ask(decoder.eval(), name, make_tokens)
    with torch.autocast("cpu", torch.bfloat16):
        half = ask(decoder, name, make_tokens)
    for a, b in zip(full, half, strict=True):
        assert (a - b.float()).abs().mean() <= 0.05 * max(1.0, a.abs().mean().item())


def test_a_misspelt_key_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"card.json: widht: unknown key; did you mean 'width'\?"):
        build_decoder(name, {"widht": 192}, "card.json")


def test_an_unknown_decoder_is_refused() -> None:
    with pytest.raises(ValueError, match="'quadratic' is no decoder; known: linear, promptable"):
        build_decoder("quadratic", {})
