"""What a run leaves, in parts that are small enough to come back: a zip file cut into pieces, and an index.

``index.json`` names every part with its size and sha256, and says whether a run can go on exactly.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from echoapex.models.bundle import CARD_FILE, WEIGHTS_FILE, BundleError
from echoapex.train.checkpoint import CHECKPOINT_FILE
from echoapex.train.journal import JOURNAL_FILE

MIB = 1 << 20
INDEX_FILE = "index.json"
CARDS_FILE = "cards.json"
CALL_FILE = "call.json"
_ARCHIVE = "run.zip"
_PAPERS = (JOURNAL_FILE, "recipe.json", "machine.json", "effort.json", CALL_FILE)
_BESIDE_PARTS = 4
"""Files that lie beside the parts: the index, the cards, the journal and the log."""
_SHARE_OF_TEXT = 0.006
"""Of the size that may come back, what is left for these."""


class PartsError(ValueError):
    """Parts that are missing or damaged, or a run that does not fit into them."""


@dataclass(frozen=True)
class Limits:
    """How much may come back: in all, in one file, and how many files."""

    most_mib: float = 64
    part_mib: float = 16
    most_files: int = 8

    @property
    def part_bytes(self) -> int:
        """Size of a part."""
        return int(self.part_mib * MIB) - 1024

    @property
    def bytes(self) -> int:
        """What all parts together may hold."""
        parts = (self.most_files - _BESIDE_PARTS) * self.part_bytes
        return min(parts, int(self.most_mib * MIB * (1 - _SHARE_OF_TEXT)))


@dataclass(frozen=True)
class Left:
    """What a run left: whether it can go on exactly, how far it is, and the size."""

    exact: bool
    step: int
    steps: int
    mib: float


def write_parts(run: Path, out: Path, step: int, steps: int, limits: Limits) -> Left:
    """Cut bundles, papers and, where it fits, the checkpoint of a run into parts.

    Raises:
        PartsError: not even the weights fit.
    """
    weights = [path for path in sorted((run / "bundles").rglob("*")) if path.name in (WEIGHTS_FILE, CARD_FILE)]
    papers = [run / name for name in _PAPERS if (run / name).is_file()]
    archive, exact = run / _ARCHIVE, False
    _pack(archive, run, [*weights, *papers])
    size, checkpoint = archive.stat().st_size, run / CHECKPOINT_FILE
    if size > limits.bytes:
        raise PartsError(
            f"the weights take {size / MIB:.1f} MiB and {limits.bytes / MIB:.1f} MiB may come back; raise --most-mib "
            "and --most-files, or train a smaller encoder"
        )
    if size + 0.8 * checkpoint.stat().st_size <= limits.bytes:
        _pack(archive, run, [*weights, *papers, checkpoint])
        exact = archive.stat().st_size <= limits.bytes
        if not exact:
            _pack(archive, run, [*weights, *papers])
    cards = {path.parent.name: json.loads(path.read_bytes()) for path in weights if path.name == CARD_FILE}
    (out / CARDS_FILE).write_text(json.dumps(cards, indent=2) + "\n", encoding="utf-8")
    if (run / JOURNAL_FILE).is_file():
        shutil.copyfile(run / JOURNAL_FILE, out / JOURNAL_FILE)
    left = Left(exact, step, steps, round(archive.stat().st_size / MIB, 1))
    index = {**asdict(left), "parts": _cut(archive, out, limits)}
    (out / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return left


def join_parts(parts: Path, out: Path) -> Left:
    """Put the parts together below ``out``, which must not hold a run; every digest is checked first.

    Raises:
        PartsError: a part is missing or damaged, or ``out`` holds something.
    """
    if out.is_dir() and any(out.iterdir()):
        raise PartsError(f"{out}: is not empty; give another folder")
    try:
        index = json.loads((parts / INDEX_FILE).read_bytes())
        named = [(parts / part["name"], part["sha256"]) for part in index["parts"]]
        left = Left(bool(index["exact"]), int(index["step"]), int(index["steps"]), float(index["mib"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PartsError(f"{parts / INDEX_FILE}: cannot be read ({error}); fetch all files of the run again") from error
    out.mkdir(parents=True, exist_ok=True)
    archive = out / _ARCHIVE
    with archive.open("wb") as whole:
        for path, wanted in named:
            content = path.read_bytes() if path.is_file() else b""
            if _digest(content) != wanted:
                archive.unlink()
                raise PartsError(f"{path}: {'is damaged' if content else 'is missing'}; fetch it again")
            whole.write(content)
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(out)
    except (OSError, zipfile.BadZipFile) as error:
        raise PartsError(f"{parts}: the parts do not fit together ({error}); fetch them again") from error
    finally:
        archive.unlink()
    return left


def bundles_below(run: Path) -> list[Path]:
    """The bundles of a joined run.

    Raises:
        BundleError: there is none.
    """
    found = sorted(path.parent for path in (run / "bundles").rglob(CARD_FILE))
    if not found:
        raise BundleError(f"{run}: holds no bundle; join the parts again")
    return found


def _pack(archive: Path, run: Path, files: list[Path]) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for file in files:
            packed.write(file, file.relative_to(run).as_posix())


def _cut(archive: Path, out: Path, limits: Limits) -> list[dict[str, object]]:
    for earlier in out.glob("part-*.bin"):
        earlier.unlink()
    parts: list[dict[str, object]] = []
    with archive.open("rb") as whole:
        while content := whole.read(limits.part_bytes):
            name = f"part-{len(parts):03d}.bin"
            (out / name).write_bytes(content)
            parts.append({"name": name, "bytes": len(content), "sha256": _digest(content)})
    archive.unlink()
    return parts


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
