"""Recipes are tried on the small real tasks of ``tests/tasks``."""

from tasks.conftest import _same_seed, encoded, saved_set, tasks

__all__ = ["_same_seed", "encoded", "saved_set", "tasks"]
