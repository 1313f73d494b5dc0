"""``OUT.names.json``, beside the results and never inside them: which file each clip of the results is.

Results name clips by keyed digests. This one file, readable by its owner only, holds the key and the paths; with it the
same command gives the same names again. Results can be handed on without it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from echoapex.config import Config
from echoapex.io.file_names import KEY_BYTES, FileNames

NOTICE = "secret: names patients where file names do; keep it to yourself and apart from the results"


class NameMapError(ValueError):
    """A map of names that cannot be read or written; the message says what to do."""


class NameMap(Config):
    """Content of the file: the key of the digests, and by each name where the file lies."""

    notice: str = NOTICE
    key: str = Field(default_factory=lambda: secrets.token_hex(KEY_BYTES), pattern=f"^[0-9a-f]{{{2 * KEY_BYTES}}}$")
    files: dict[str, str] = Field(default_factory=dict)

    def names(self) -> FileNames:
        """Names files with the key of this map."""
        return FileNames(bytes.fromhex(self.key))


def name_map_path(out: Path) -> Path:
    """Where the map of an output folder lies by default: ``results.names.json`` beside ``results``."""
    folder = out.absolute()
    return folder.with_name(f"{folder.name}.names.json") if folder.name else folder / "names.json"


def read_or_create_name_map(path: Path) -> NameMap:
    """The map in a file; a new one, written at once so that its key is safe before anything is named by it.

    Raises:
        NameMapError: the file cannot be read or made, or holds something else.
    """
    try:
        return NameMap.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        created = NameMap()
        write_name_map(path, created, {})
        return created
    except OSError as error:
        raise NameMapError(f"{path.name}: the map of names cannot be read ({error.strerror}); check --names") from None
    except ValidationError:
        raise NameMapError(f"{path.name}: is no map of names; move it away or choose another --names") from None


def write_name_map(path: Path, known: NameMap, found: Mapping[str, str]) -> Path:
    """Write a map with further names, whole or not at all, readable by its owner only.

    Raises:
        NameMapError: it cannot be written there.
    """
    # a path need not be text: what is none is shown escaped
    paths = {
        name: place.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        for name, place in found.items()
    }
    content = known.model_copy(update={"files": dict(sorted({**known.files, **paths}.items()))}).model_dump()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(json.dumps(content, indent=1, ensure_ascii=True).encode() + b"\n")
        partial.replace(path)
    except OSError as error:
        reason = error.strerror or "error"
        raise NameMapError(
            f"{path.name}: the map of names cannot be written ({reason}); choose another --names, or --keep-identifiers"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return path
