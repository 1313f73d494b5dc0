"""Real DICOM files that come with pip packages, and the shared data folder; a test skips where they are absent."""

from __future__ import annotations

import importlib.util
import os
import zipfile
from pathlib import Path

import pytest

# package, folder inside it
_PLACES = (
    ("data_store", "data"),  # pip package pydicom-data
    ("deid_data", "data/ultrasounds"),  # pip package deid-data
    ("pydicom", "data/test_files"),
)


def find_real_dicom(name: str) -> Path | None:
    """The path of a file that pydicom, pydicom-data or deid-data installs, or None."""
    for package, folder in _PLACES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            path = Path(spec.origin).parent / folder / name
            if path.is_file():
                return path
    return None


def real_dicom(name: str) -> Path:
    """The path of a real file; skips the test where its package is not installed."""
    path = find_real_dicom(name)
    if path is None:
        pytest.skip(f"{name} is not installed; it comes with the pip packages pydicom, pydicom-data and deid-data")
    return path


def unzipped_dicom(archive: str, folder: Path) -> Path:
    """The only member of a zipped real file, extracted into ``folder``."""
    with zipfile.ZipFile(real_dicom(archive)) as packed:
        return Path(packed.extract(packed.namelist()[0], folder))


def shared_data(*parts: str) -> Path:
    """A path in the shared data folder; skips the test where the folder is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("ECHOAPEX_SHARED_DATA", default)).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the shared data folder has no {'/'.join(parts) or 'content'} (set ECHOAPEX_SHARED_DATA)")
    return path
