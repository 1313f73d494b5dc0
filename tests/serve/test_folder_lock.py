"""A data folder belongs to one process at a time."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from echoapex.config import ConfigError
from echoapex.serve.folder_lock import lock_folder


def test_a_second_process_is_kept_out_until_the_first_one_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = lock_folder(folder, "node", "data", "another one is here; stop it", ("jobs",))
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((folder / "jobs").stat().st_mode) == 0o700
    with pytest.raises(ConfigError, match="data: another one is here; stop it"):
        lock_folder(folder, "node", "data", "another one is here; stop it")
    first.close()
    lock_folder(folder, "node", "data", "another one is here; stop it").close()


def test_a_place_that_cannot_be_a_folder_names_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="check --state"):
        lock_folder(tmp_path / "file" / "page", "page", "--state", "")
