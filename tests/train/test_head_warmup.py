"""An encoder that was given stays as it is while the fresh heads learn."""

from pathlib import Path

import torch
from tiny_pretraining import build_pretrain, crop_source

from echoapex.train.optim import OptimConfig
from echoapex.train.trainer import Run, TrainConfig, train


def test_the_encoder_waits_for_the_heads(tmp_path: Path) -> None:
    optim = OptimConfig(lr=1e-2, warmup_steps=0, weight_decay=0.1)
    states = {}
    for steps in (3, 4):
        run = Run(
            build_pretrain(head_warmup=3), crop_source(tmp_path), None, 0, tmp_path / str(steps), {"name": "tiny"}
        )
        run.directory.mkdir()
        train(run, TrainConfig(steps=steps, precision="fp32", trackers=(), average_decay=0, optim=optim))
        states[steps] = run.task.state_dict()
    fresh = build_pretrain(head_warmup=3).state_dict()
    encoder = [name for name in fresh if ".encoder." in name]
    heads = [name for name in fresh if name.startswith("student") and "head.perceptron" in name]
    assert encoder
    assert all(torch.equal(states[3][name], fresh[name]) for name in encoder), "not even decayed"
    assert any(not torch.equal(states[3][name], fresh[name]) for name in heads)
    assert any(not torch.equal(states[4][name], fresh[name]) for name in encoder)
