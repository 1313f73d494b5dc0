"""Every test of training starts from the same random state."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_seed() -> None:
    torch.manual_seed(0)
