"""``manifest.json``: how the results were made: versions, weights, options, timing, files. No path, no identifier."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from echoapex.config import Config
from echoapex.infer.options import AnalysisOptions
from echoapex.io.atomic_file import remove_abandoned_partials, write_bytes_atomically
from echoapex.version import __version__

FILE_NAME = "manifest.json"
_LIBRARIES = ("torch", "numpy", "scipy", "opencv-python-headless", "pydicom", "av", "pillow")
_OWN_FOLDERS = ("clips", "masks", "overlays")


class Manifest(Config):
    """Content of ``manifest.json``."""

    manifest_version: Literal["1.0"] = "1.0"
    complete: bool = Field(description="False when the run was interrupted; the same command completes it")
    echoapex_version: str = __version__
    python_version: str = platform.python_version()
    libraries: dict[str, str] = Field(default_factory=dict)
    bundle: str
    weights_sha256: dict[str, str]
    device: str
    precision: str = Field(default="fp32", description="in which the encoder computed: bf16 or fp32")
    options: AnalysisOptions
    inputs: int = Field(description="how many paths were given; the paths themselves may name a patient")
    clips_analysed: int
    clips_set_aside: int
    clips_reused: int = Field(description="taken over from an earlier run of the same version, weights and options")
    files_failed: int
    started: str = Field(description="UTC, ISO 8601")
    seconds: float
    seconds_by_clip: dict[str, float] = Field(default_factory=dict)
    files: tuple[str, ...] = Field(default=(), description="files written, relative to the output folder")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that numbers depend on, where installed."""
    versions: dict[str, str] = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def utc_now() -> str:
    """The time now, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_manifest(out: Path, manifest: Manifest) -> Path:
    """Write the manifest; it is written last, so that its ``complete`` holds for all other files."""
    return write_bytes_atomically(out / FILE_NAME, (manifest.model_dump_json(indent=1) + "\n").encode())


def earlier_files(out: Path) -> tuple[str, ...]:
    """What an earlier run wrote into ``out``; empty where there was none."""
    try:
        content: Any = json.loads((out / FILE_NAME).read_bytes())
        return Manifest.model_validate(content).files
    except (OSError, ValueError, ValidationError):
        return ()


def remove_abandoned(out: Path) -> None:
    """Remove what runs that were killed left half written in an output folder."""
    for folder in (out, *(out / name for name in _OWN_FOLDERS)):
        remove_abandoned_partials(folder)


def remove_outdated(out: Path, earlier: Iterable[str], current: Iterable[str]) -> None:
    """Remove per-clip files that an earlier run wrote and this one did not; nothing else is ever removed."""
    for name in set(earlier) - set(current):
        parts = Path(name).parts
        if len(parts) == 2 and parts[0] in _OWN_FOLDERS and parts[1] not in ("..", "."):
            (out / name).unlink(missing_ok=True)
