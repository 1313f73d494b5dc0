"""The same step in parts, computed again, or compiled."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_pretraining import build_pretrain, crop_source
from tiny_tasks import build_tasks, frame_batch

from echoapex.models.encoder import EncoderConfig, VisionTransformer
from echoapex.models.precision import choose_precision
from echoapex.train.distributed import Processes
from echoapex.train.optim import GradientRules, Gradients, OptimConfig, build_optimizer
from echoapex.train.trainer import checkpoint_activations, compile_blocks


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def saved_bytes(encoder: VisionTransformer, images: torch.Tensor) -> int:
    """What is kept from the forward pass for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        encoder(images).class_token.sum().backward()
    return sum(kept.values())


def test_checkpointed_blocks_give_the_same_gradients_and_keep_less(tmp_path: Path) -> None:
    batch = crop_source(tmp_path).batch(0)
    plain, frugal = build_pretrain(), build_pretrain()
    names = list(frugal.state_dict())
    checkpoint_activations(frugal)
    assert list(frugal.state_dict()) == names
    for task in (plain, frugal):
        torch.manual_seed(3)
        task.loss(batch).total.backward()
    expected = gradients(plain)
    assert expected.keys() == gradients(frugal).keys()
    for name, gradient in gradients(frugal).items():
        assert torch.allclose(gradient, expected[name], atol=1e-7), name
    images = torch.randn(4, 1, 96, 96)
    assert saved_bytes(frugal.student.encoder, images) < 0.5 * saved_bytes(plain.student.encoder, images)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_blocks_compute_the_same() -> None:
    torch.manual_seed(0)
    encoder = VisionTransformer(EncoderConfig(image_size=32)).eval()
    names, images = list(encoder.state_dict()), torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        eager = encoder(images).patches
        encoder.blocks = encoder.blocks[:1]
        one = encoder(images).patches
        compile_blocks(encoder)
        compiled = encoder(images).patches
    assert not torch.allclose(eager, one)
    assert torch.allclose(one, compiled, atol=1e-5)
    assert set(encoder.state_dict()) <= set(names)


def test_a_batch_in_parts_is_the_update_of_the_whole() -> None:
    batch = frame_batch(4)
    moved = []
    for parts in (1, 2):
        task = build_tasks(seed=2).multitask.view
        rules = GradientRules(parts, choose_precision("fp32"), clip_norm=1e9)
        optimizer = build_optimizer(task, OptimConfig())
        loss, _ = Gradients(task, optimizer, rules, Processes()).compute(batch)
        moved.append((loss.total.item(), gradients(task)))
    assert moved[1][0] == pytest.approx(moved[0][0], rel=1e-5)
    for name, gradient in moved[1][1].items():
        assert torch.allclose(gradient, moved[0][1][name], atol=1e-6), name


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"a batch of 4 cannot be divided into 3 equal parts; change train\.accumulate"
    ):
        crop_source(tmp_path).batch(0).split(3)


def test_parts_of_crops_are_the_batch(tmp_path: Path) -> None:
    whole = crop_source(tmp_path).batch(2)
    parts = whole.split(2)
    assert [part.global_crops.shape[1] for part in parts] == [2, 2]
    for name in ("global_crops", "local_crops", "masked"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], dim=1), getattr(whole, name))
    assert torch.equal(torch.cat([part.rows for part in parts]), whole.rows)
