"""LoRA pretraining: the encoder that was given stays, thin matrices learn, and are merged at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from tiny_pretraining import build_pretrain, crop_source, pretrain_recipe
from tiny_tasks import PROVENANCE

from echoapex.models.adapters import AdapterConfig
from echoapex.models.bundle import build_encoder_from, load_bundle, save_bundle
from echoapex.models.encoder import EncoderConfig, VisionTransformer
from echoapex.recipes.recipe import Lineage
from echoapex.train.optim import OptimConfig
from echoapex.train.trainer import Run, TrainConfig, train

CONFIG = TrainConfig(steps=4, precision="fp32", trackers=(), average_decay=0, checkpoint_every=2)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    place = tmp_path_factory.mktemp("start") / "encoder"
    encoder = VisionTransformer(EncoderConfig(image_size=48))
    card = Lineage(PROVENANCE, ()).card("encoder", 48, architecture=encoder.config.model_dump(mode="json"))
    save_bundle(place, encoder, card)
    return place


def test_the_encoder_stays_and_its_adapter_learns(start: Path, tmp_path: Path) -> None:
    task = build_pretrain(start=start, lora=AdapterConfig(rank=2))
    given = {name: value.clone() for name, value in task.student.encoder.state_dict().items()}
    tmp_path.joinpath("run").mkdir()
    config = CONFIG.model_copy(update={"optim": OptimConfig(lr=1e-2, warmup_steps=0)})
    train(Run(task, crop_source(tmp_path), None, 0, tmp_path / "run", {"name": "tiny"}), config)
    for network in (task.student, task.teacher):
        assert [n for n, v in network.encoder.state_dict().items() if not torch.equal(v, given[n])] == []
        assert any(addition.up.detach().any() for addition in network.adapter.additions.values())
    ups = [
        [float(a.up.detach().norm()) for a in network.adapter.additions.values()]
        for network in (task.student, task.teacher)
    ]
    assert ups[0] != ups[1], "the teacher has an adapter of its own, which follows"
    images = torch.randn(2, 1, 48, 48)
    with torch.no_grad():
        adapted = task.teacher.encoder(images).patches
        merged = task.trained_encoder()
        assert torch.allclose(merged(images).patches, adapted, atol=1e-4)
        assert torch.equal(task.teacher.encoder(images).patches, adapted), "the task itself is as before"
    pretrain_recipe(start=start, lora=AdapterConfig(rank=2)).export(task, tmp_path / "bundles", PROVENANCE)
    written = build_encoder_from(load_bundle(tmp_path / "bundles" / "encoder"))
    with torch.no_grad():
        assert torch.allclose(written(images).patches, adapted, atol=0.02), "an encoder like any other"


def test_it_resumes_exactly(start: Path, tmp_path: Path) -> None:
    class StoppedError(RuntimeError):
        pass

    def stop(step: int, total: int, loss: object) -> None:
        if step == 3:
            raise StoppedError

    def run(name: str) -> Run:
        (tmp_path / name).mkdir(exist_ok=True)
        task = build_pretrain(start=start, lora=AdapterConfig())
        return Run(task, crop_source(tmp_path), None, 0, tmp_path / name, {"name": "t"})

    straight = run("straight")
    train(straight, CONFIG)
    with pytest.raises(StoppedError):
        train(run("halves"), CONFIG, stop)
    halves = run("halves")
    train(halves, CONFIG)
    second = halves.task.state_dict()
    assert all(torch.equal(value, second[name]) for name, value in straight.task.state_dict().items())


def test_lora_needs_an_encoder_that_was_given(start: Path) -> None:
    with pytest.raises(ValidationError, match="lora bends an encoder that was given"):
        pretrain_recipe(lora=AdapterConfig())
    with pytest.raises(ValidationError, match="lora bends an encoder that was given"):
        pretrain_recipe(start=start, lora=AdapterConfig(kind="bitfit"))
