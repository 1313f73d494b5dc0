"""Stores of phantom clips that a recipe asks for: drawn when missing, shared between recipes of one workspace."""

from __future__ import annotations

from echoapex.data.clip_store import ClipStore
from echoapex.data.phantom_store import PhantomStoreConfig, draw_phantom_store
from echoapex.tasks.recipe import Workspace


def open_phantom_store(name: str, config: PhantomStoreConfig, workspace: Workspace) -> ClipStore:
    """Draw what is missing of a store and open it."""
    directory = workspace.directory / "stores" / name
    draw_phantom_store(
        config,
        directory,
        workspace.workers,
        lambda done, total: workspace.progress(f"phantom clips, {name}", done, total),
    )
    return ClipStore(directory)
