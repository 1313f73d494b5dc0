"""Stores of phantom clips that a recipe asks for: drawn when missing, shared between recipes of one workspace."""

from __future__ import annotations

import hashlib

from echoapex.data.clip_store import ClipStore
from echoapex.data.phantom_store import PhantomStoreConfig, draw_phantom_store
from echoapex.phantom import SIMULATOR_VERSION
from echoapex.tasks.recipe import Workspace


def open_phantom_store(name: str, config: PhantomStoreConfig, workspace: Workspace) -> ClipStore:
    """Draw what is missing of a store and open it; another configuration or simulator is another store."""
    directory = workspace.directory / "stores" / f"{name}-{_digest(config)}"
    draw_phantom_store(
        config,
        directory,
        workspace.workers,
        lambda done, total: workspace.progress(f"phantom clips, {name}", done, total),
    )
    return ClipStore(directory)


def _digest(config: PhantomStoreConfig) -> str:
    drawn = f"{SIMULATOR_VERSION} {config.model_dump_json()}"
    return hashlib.sha256(drawn.encode()).hexdigest()[:10]
