"""The files of an analysis, except pictures.

``results.json``
    the whole report, with a JSON Schema. ``python -m echoapex.infer.outputs.files docs/reference/results.schema.json``
    writes the schema.
``measurements.csv``
    one line per value, for spreadsheets and statistics.
``errors.csv``
    one line per file that could not be analysed: what is wrong, and what to do.
``masks/<clip_id>.npz``
    the label maps of a clip in native pixels, written one frame at a time. Arrays: ``frames`` (n,) int32; ``labels``
    (n, height, width) uint8, values of ``Structure``, 0 is background; ``structures`` the names in the order of their
    values from 1; ``spacing_mm`` (row, column), NaN where unknown.
``manifest.json``
    how the results were made: versions, weights, options, timing, files. No path, no identifier.
``OUT.names.json``
    beside the results, never inside them: the source file of each clip. Results name clips by keyed digests. This file,
    readable by its owner only, holds the key and the paths; with it the same command gives the same names again.
    Results can be given to others without it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import re
import secrets
import sys
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from jaxtyping import UInt8
from pydantic import Field, ValidationError

from echoapex.config import Config
from echoapex.domain import Spacing, StudyReport
from echoapex.domain.results import ROW_COLUMNS, SCHEMA_VERSION
from echoapex.infer.clip.outlines import LabelMaps
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.io.deidentify import KEY_BYTES, FileNames
from echoapex.io.temporary_files import remove_abandoned_partials, replace_when_complete, write_bytes_atomically
from echoapex.version import __version__
from echoapex.vocabulary import Structure

FILE_NAME = "manifest.json"
_LIBRARIES = ("torch", "numpy", "scipy", "opencv-python-headless", "pydicom", "av", "pillow")
_OWN_FOLDERS = ("clips", "dicom", "fhir", "masks", "overlays", "reports")
_ON_REQUEST = ("report.html", "report.pdf", "cohort.csv", "cohort.parquet")
NOTICE = "secret: names patients where file names do; keep it to yourself and apart from the results"
RESULTS_FILE = "results.json"
MEASUREMENTS_FILE = "measurements.csv"
ERRORS_FILE = "errors.csv"
ERROR_COLUMNS = ("file", "reason", "remedy")
MASK_FOLDER = "masks"
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # equal masks give equal bytes


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
    weights_note: str = Field(default="", description="what their cards say of the weights that a reader should know")
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
    """Files that an earlier run wrote into ``out``; empty without an earlier run."""
    try:
        content: Any = json.loads((out / FILE_NAME).read_bytes())
        return Manifest.model_validate(content).files
    except (OSError, ValueError, ValidationError):
        return ()


def remove_abandoned(out: Path) -> None:
    """Remove partial files of killed runs from an output folder."""
    for folder in (out, *(out / name for name in _OWN_FOLDERS)):
        remove_abandoned_partials(folder)


def remove_outdated(out: Path, earlier: Iterable[str], current: Iterable[str]) -> None:
    """Remove files of an earlier run that this run did not write: of clips, and those on request; nothing else."""
    for name in set(earlier) - set(current):
        parts = Path(name).parts
        is_in_folder = len(parts) == 2 and parts[0] in _OWN_FOLDERS and parts[1] not in ("..", ".")
        if is_in_folder or name in _ON_REQUEST:
            (out / name).unlink(missing_ok=True)


class NameMapError(ValueError):
    """A map of names cannot be read or written; the message says what to do."""


class NameMap(Config):
    """Content of the names file: the key of the digests, and the path of each name."""

    notice: str = NOTICE
    key: str = Field(default_factory=lambda: secrets.token_hex(KEY_BYTES), pattern=f"^[0-9a-f]{{{2 * KEY_BYTES}}}$")
    files: dict[str, str] = Field(default_factory=dict)

    def names(self) -> FileNames:
        """Names files with the key of this map."""
        return FileNames(bytes.fromhex(self.key))


def name_map_path(out: Path) -> Path:
    """Default place of the names file of an output folder: ``results.names.json`` beside ``results``."""
    folder = out.absolute()
    return folder.with_name(f"{folder.name}.names.json") if folder.name else folder / "names.json"


def read_or_create_name_map(path: Path) -> NameMap:
    """Read the names file or create it; a new key is saved before any name is made with it.

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
    """Write the names file atomically, readable by its owner only.

    Raises:
        NameMapError: it cannot be written there.
    """
    # a path need not be valid text; invalid parts are escaped
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


def write_results(out: Path, report: StudyReport) -> Path:
    """Write the report."""
    return write_bytes_atomically(out / RESULTS_FILE, results_text(report).encode())


def results_text(report: StudyReport) -> str:
    """The report as JSON, exactly as in the file."""
    return report.model_dump_json(indent=1) + "\n"


def results_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``results.json``."""
    schema = StudyReport.model_json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:echoapex:results:{SCHEMA_VERSION}",
        "title": f"EchoApex results, version {SCHEMA_VERSION}",
    }
    return head | {key: value for key, value in schema.items() if key != "title"}


def write_schema(path: Path) -> Path:
    """Write the schema."""
    return write_bytes_atomically(path, (json.dumps(results_schema(), indent=1) + "\n").encode())


_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?")


def write_measurements(out: Path, report: StudyReport) -> Path:
    """Write the values of the study, then those of each clip."""
    return write_bytes_atomically(out / MEASUREMENTS_FILE, table_bytes(ROW_COLUMNS, map(_rounded, report.rows())))


def table_bytes(columns: tuple[str, ...], rows: Iterable[Mapping[str, object]]) -> bytes:
    """A CSV table in UTF-8 with CRLF line ends (RFC 4180); cells that would run as formulas are quoted."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _harmless(value) for name, value in row.items()})
    return buffer.getvalue().encode()


def _harmless(value: object) -> object:
    """A leading =, +, - or @ makes spreadsheets run a cell as a formula; a quote keeps it text. A number stays one."""
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@")) and not _NUMBER.fullmatch(value)
    return f"'{value}" if is_formula else value


def _rounded(row: Mapping[str, object]) -> dict[str, object]:
    """Numbers with six digits; what is not known is an empty cell."""
    return {
        name: number_cell(value) if value is None or isinstance(value, float) else value for name, value in row.items()
    }


def number_cell(value: object) -> str:
    """A number with six digits for a table; an empty cell for None."""
    return "" if value is None else f"{value:.6g}"


def write_errors(out: Path, report: StudyReport) -> Path:
    """Write the errors; only the header if there are none."""
    rows = ({name: " ".join(row[name].split()) for name in ERROR_COLUMNS} for row in report.errors)
    return write_bytes_atomically(out / ERRORS_FILE, table_bytes(ERROR_COLUMNS, rows))


def write_masks(out: Path, clip_id: str, labels: LabelMaps, spacing: Spacing | None) -> Path:
    """Write the label maps of a clip, frames ascending."""
    return write_label_maps(out / MASK_FOLDER / f"{clip_id}.npz", labels, spacing)


def write_label_maps(path: Path, labels: LabelMaps, spacing: Spacing | None) -> Path:
    """Write label maps in the format of ``masks/`` to a file of one's own."""
    calibration = (spacing.row_mm, spacing.column_mm) if spacing else (np.nan, np.nan)
    with replace_when_complete(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        _write_array(archive, "frames", np.array(labels.frames, np.int32))
        _write_array(archive, "structures", np.array([structure.key for structure in Structure]))
        _write_array(archive, "spacing_mm", np.array(calibration))
        with _member(archive, "labels") as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), *labels.size)}
            np.lib.format.write_array_header_1_0(stream, header)
            for frame in labels:
                stream.write(labels[frame].tobytes())
    return path


def read_masks(out: Path, clip_id: str) -> dict[int, UInt8[np.ndarray, "height width"]]:
    """The label maps of a clip by native frame; none where none were written."""
    path = out / MASK_FOLDER / f"{clip_id}.npz"
    if not path.is_file():
        return {}
    with np.load(path) as stored:
        return dict(zip(stored["frames"].tolist(), stored["labels"], strict=True))


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with _member(archive, name) as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    member = zipfile.ZipInfo(f"{name}.npy", _FIXED_DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(member, "w", force_zip64=True)


if __name__ == "__main__":
    write_schema(Path(sys.argv[1]))
