from __future__ import annotations

import torch

from echoapex.losses.supervised import mask_target


def test_a_cell_says_how_much_of_it_is_inside() -> None:
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    labels[0, 0, 0] = labels[0, 0, 1] = labels[0, 1, 0] = 2
    labels[0, 2:, 2:] = 5
    target = mask_target(labels, torch.tensor([[2, 5, 1, -1]]))
    assert target.shape == (1, 4, 2, 2)
    assert target[0, 0].tolist() == [[0.75, 0], [0, 0]]
    assert target[0, 1].tolist() == [[0, 0], [0, 1]]
    assert target[0, 2:].sum() == 0


def test_no_area_is_lost() -> None:
    labels = torch.randint(0, 7, (2, 16, 24), dtype=torch.uint8)
    target = mask_target(labels, torch.arange(1, 7).expand(2, -1))
    area = torch.stack([(labels == value).sum(dim=(1, 2)) for value in range(1, 7)], dim=1)
    torch.testing.assert_close(4 * target.sum(dim=(2, 3)), area.float())
