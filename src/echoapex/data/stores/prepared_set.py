"""A prepared set: the clips of a data set, ready for training, in a folder that travels without the data set.

``train`` and, where some clips judge, ``val`` are clip stores. ``origin.json`` says what the clips are and under which
licence, so that the cards of weights say it too.
"""

from __future__ import annotations

from pathlib import Path

from echoapex.config import Config, ConfigError, build_config, read_recipe
from echoapex.data.datasets.records import DatasetError
from echoapex.data.stores.clip_store import ClipStore
from echoapex.io.temporary_files import write_bytes_atomically

ORIGIN_FILE = "origin.json"
TRAINING, JUDGING = "train", "val"


class PreparedOrigin(Config):
    """What the clips are, and what weights that learn from them are bound to; empty where the recipe has to say it."""

    training_data: tuple[str, ...] = ()
    licence: str = ""
    non_commercial: bool = False


def is_prepared_set(folder: Path) -> bool:
    """Whether a folder holds a prepared set."""
    return (folder / ORIGIN_FILE).is_file()


def open_prepared_set(folder: Path) -> tuple[ClipStore, ClipStore | None]:
    """The clips that teach, and those that judge, if there are any.

    Raises:
        DatasetError: there is no prepared set, or its clips cannot be read.
    """
    if not is_prepared_set(folder):
        raise DatasetError(f"{folder}: is no prepared set, since it has no {ORIGIN_FILE}; check the path")
    try:
        judging = ClipStore(folder / JUDGING) if (folder / JUDGING).is_dir() else None
        return ClipStore(folder / TRAINING), judging
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder}: its clips cannot be read ({error}); pack the set again") from error


def read_origin(folder: Path) -> PreparedOrigin:
    """What a prepared set says of its clips.

    Raises:
        DatasetError: it says nothing, or is damaged.
    """
    try:
        return build_config(PreparedOrigin, read_recipe(folder / ORIGIN_FILE), ORIGIN_FILE)  # JSON is YAML
    except ConfigError as error:
        raise DatasetError(f"{folder}: is no prepared set ({error}); pack the set again") from error


def write_origin(folder: Path, origin: PreparedOrigin) -> None:
    """Write what the clips are, which completes a prepared set."""
    write_bytes_atomically(folder / ORIGIN_FILE, (origin.model_dump_json(indent=2) + "\n").encode())
