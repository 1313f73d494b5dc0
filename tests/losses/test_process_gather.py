"""Gathered rows: alone they are themselves; over two processes KoLeo and its gradient are those of one batch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import distributed, multiprocessing

from echoapex.losses.self_distillation import gather_over_processes, koleo_loss


def rows() -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def test_one_process_keeps_its_rows() -> None:
    own = rows()
    assert gather_over_processes(own) is own


def _one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    own = rows().chunk(2)[rank].clone().requires_grad_()
    loss = koleo_loss(own)
    loss.backward()
    torch.save((gather_over_processes(own).detach(), loss.detach(), own.grad), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_spread_their_rows_as_one(tmp_path: Path) -> None:
    multiprocessing.spawn(_one_of_two, (str(tmp_path),), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    together = rows().requires_grad_()
    loss = koleo_loss(together)
    loss.backward()
    for gathered, shared_loss, _ in parts:
        assert torch.equal(gathered, rows())
        torch.testing.assert_close(shared_loss, loss.detach())
    assert together.grad is not None
    averaged = torch.cat([gradient for _, _, gradient in parts]) / 2
    torch.testing.assert_close(averaged, together.grad)
