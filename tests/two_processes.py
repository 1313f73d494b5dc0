"""Two processes that talk to each other on this machine, as ``torchrun`` would start them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch
from torch import multiprocessing


def run_two(work: Callable[[int, str, int], None], folder: Path) -> None:
    """Run ``work(rank, folder, port)`` in two processes; it begins with ``take_rank``."""
    multiprocessing.spawn(work, (str(folder), free_port()), nprocs=2)


def take_rank(rank: int, port: int) -> None:
    """Be process ``rank`` of two, with one thread."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
