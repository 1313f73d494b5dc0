"""A store is drawn once per configuration and shared by the recipes of a workspace."""

from pathlib import Path

import pytest

from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.recipes import clips
from echoapex.recipes.clips import open_phantom_store
from echoapex.recipes.recipe import Workspace
from echoapex.vocabulary import View

TINY = PhantomStoreConfig(patients=1, views=(View.A4C,), frames=2, labelled=2, native_size=96, size=32)


def test_a_store_is_drawn_once_and_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    workspace = Workspace(tmp_path, 1, lambda *progress: told.append(progress))
    assert len(open_phantom_store("views", TINY, workspace)) == 1
    assert len(open_phantom_store("views", TINY, workspace)) == 1
    assert told == [("phantom clips, views", 1, 1)]
    monkeypatch.setattr(clips, "SIMULATOR_VERSION", "another")
    open_phantom_store("views", TINY, workspace)
    assert len(told) == 2, "another simulator draws other clips"
    assert len(list((tmp_path / "stores").iterdir())) == 2


def test_another_configuration_is_another_store(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, 1, lambda what, done, total: None)
    for first_seed in (0, 7):
        open_phantom_store("views", TINY.model_copy(update={"first_seed": first_seed}), workspace)
    assert len(list((tmp_path / "stores").iterdir())) == 2
