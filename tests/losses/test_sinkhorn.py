"""Sinkhorn centring against optimal transport in plain numpy, and over two processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import distributed, multiprocessing

from echoapex.losses.self_distillation import sinkhorn_assignments


def scores(samples: int = 12, prototypes: int = 5) -> torch.Tensor:
    return torch.randn(samples, prototypes, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


def plain_sinkhorn(logits: np.ndarray, temperature: float, iterations: int) -> np.ndarray:
    """Alternate in double precision: columns to 1/K, rows to 1/B; then rows to one."""
    plan = np.exp(logits / temperature)
    for _ in range(iterations):
        plan = plan / plan.sum(0) / plan.shape[1]
        plan = plan / plan.sum(1, keepdims=True) / plan.shape[0]
    return plan * plan.shape[0]


def test_it_is_the_alternation_of_two_normalisations() -> None:
    logits = scores()
    for iterations in (1, 3):
        expected = plain_sinkhorn(logits.double().numpy(), 0.05, iterations)
        np.testing.assert_allclose(sinkhorn_assignments(logits, 0.05, iterations).numpy(), expected, atol=1e-5)


def test_in_the_limit_every_prototype_has_the_same_share() -> None:
    targets = sinkhorn_assignments(scores(), temperature=0.5, iterations=200)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(12))
    torch.testing.assert_close(targets.sum(dim=0), torch.full((5,), 12 / 5))


def test_a_score_common_to_all_prototypes_or_samples_changes_nothing() -> None:
    torch.testing.assert_close(sinkhorn_assignments(scores() + 7, 0.1), sinkhorn_assignments(scores(), 0.1))
    favourite = torch.tensor([0.9, 0, 0, 0, 0])
    balanced = sinkhorn_assignments(scores() + favourite, 0.5, 200)
    torch.testing.assert_close(balanced, sinkhorn_assignments(scores(), 0.5, 200), rtol=1e-4, atol=1e-5)


def test_it_is_in_single_precision_without_gradient() -> None:
    targets = sinkhorn_assignments(scores().bfloat16().requires_grad_(), 0.05)
    assert targets.dtype == torch.float32
    assert not targets.requires_grad
    assert sinkhorn_assignments(torch.zeros(0, 5), 0.05).shape == (0, 5)


SPLITS = (7, 12)
"""Rows of the first process; the second has the rest, which may be none."""


def _one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    logits = scores()
    for first_rows in SPLITS:
        own = logits[:first_rows] if rank == 0 else logits[first_rows:]
        torch.save(sinkhorn_assignments(own, 0.05), Path(folder) / f"{first_rows}-{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_share_out_as_one(tmp_path: Path) -> None:
    multiprocessing.spawn(_one_of_two, (str(tmp_path),), nprocs=2)
    for first_rows in SPLITS:
        together = torch.cat([torch.load(tmp_path / f"{first_rows}-{rank}.pt") for rank in (0, 1)])
        torch.testing.assert_close(together, sinkhorn_assignments(scores(), 0.05), rtol=1e-5, atol=1e-6)


def test_three_iterations_are_made_unless_told_otherwise() -> None:
    logits = torch.randn(12, 5, generator=torch.Generator().manual_seed(4))
    found = sinkhorn_assignments(logits, 0.5)
    assert torch.equal(found, sinkhorn_assignments(logits, 0.5, iterations=3))
    assert not torch.allclose(found, sinkhorn_assignments(logits, 0.5, iterations=1), atol=1e-3)
