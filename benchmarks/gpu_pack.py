"""A pack: frames of patients, ready for training, in one small zip file that travels to a GPU machine.

Every data set becomes a prepared set (``echoapex.data.stores.prepared_set``) in a folder of its own: grey 8-bit frames
at the training size, with their label maps. Only the training split and, to judge, a few of its patients (CAMUS) or
the split ``val`` (folders) are packed. Where the pack would be too large, clips are left out evenly.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echoapex.data.datasets import DATASETS
from echoapex.data.datasets.camus import open_camus, select_patients
from echoapex.data.datasets.folder import LIST_FILE, ClipFolder
from echoapex.data.datasets.records import DatasetError
from echoapex.data.stores.clip_store import TRUTH_FIELDS, ClipStore, write_shard
from echoapex.data.stores.dataset_store import DatasetStoreConfig, write_camus_store, write_dataset_store
from echoapex.data.stores.prepared_set import JUDGING, ORIGIN_FILE, TRAINING, PreparedOrigin, write_origin

MIB = 1 << 20
_ATTEMPTS = 6
_CLIPS_PER_SHARD = 60
CAMUS_LICENCE = "CC-BY-NC-SA-4.0"


@dataclass(frozen=True)
class PackConfig:
    """How clips are prepared, how many patients of CAMUS judge, and how large the file may become."""

    store: DatasetStoreConfig
    held_back: int
    most_mib: float


def name_of(text: str) -> tuple[str, Path]:
    """Name and folder of a source, typed as ``FOLDER`` or ``NAME=FOLDER``; the name is that in the recipe.

    >>> name_of("development/mit")[0], name_of("camus=data/CAMUS_public")[0]
    ('mit', 'camus')
    """
    name, given, folder = text.rpartition("=")
    return (name, Path(folder)) if given else (Path(text).resolve().name, Path(text))


def write_pack(sources: dict[str, Path], config: PackConfig, out: Path, told: Callable[[str], None]) -> None:
    """Prepare the sources and write the pack.

    Raises:
        DatasetError: a source cannot be read, or even one clip of each does not fit.
    """
    if not out.parent.is_dir():
        raise DatasetError(f"{out.parent}: does not exist; make the folder first")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".pack-") as folder:
        whole, draft = Path(folder) / "whole", Path(folder) / "pack.zip"
        for name, root in sources.items():
            told(f"{name}: prepare the clips of {root}")
            _prepare(root, config, whole / name)
        share, kept = 1.0, whole
        for _ in range(_ATTEMPTS):
            size = _zip(kept, draft)
            if size <= config.most_mib * MIB:
                break
            share *= 0.97 * config.most_mib * MIB / size
            told(f"{size / MIB:.1f} MiB are too much: {share:.0%} of the training clips are kept")
            kept = _thinned(whole, Path(folder) / "thinned", share)
        else:
            raise DatasetError(f"{out}: is still {size / MIB:.1f} MiB; raise --most-mib, or lower --size or --frames")
        draft.replace(out)
    told(f"{out}: {size / MIB:.1f} MiB with {', '.join(sources)}")


def unpack(pack: Path, folder: Path) -> dict[str, Path]:
    """Unpack into a folder, whose content is replaced; returns the prepared sets by name.

    Raises:
        DatasetError: the file is no pack.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(pack) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{pack}: is no readable pack ({error}); write it again") from error
    found = {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{ORIGIN_FILE}"))}
    if not found:
        raise DatasetError(f"{pack}: holds no prepared set; write it with 'gpu_run.py pack'")
    return found


def _prepare(root: Path, config: PackConfig, target: Path) -> None:
    if (root / LIST_FILE).is_file():
        folder = ClipFolder(root)
        for part in (TRAINING, JUDGING):
            records = list(folder.records(part))
            if not records and part == TRAINING:
                raise DatasetError(f"{root}: no clip of the split {TRAINING}; fill in the column split")
            if records:
                write_dataset_store(records, config.store, target / part)
        write_origin(target, PreparedOrigin())
        return
    patients = len(select_patients(open_camus(root), "train"))
    if patients <= config.held_back:
        raise DatasetError(f"{root}: has {patients} training patients; lower --held-back {config.held_back}")
    teaching = slice(0, -config.held_back or None)
    write_camus_store(root, "train", teaching, config.store.size, target / TRAINING)
    if config.held_back:
        write_camus_store(root, "train", slice(-config.held_back, None), config.store.size, target / JUDGING)
    about = DATASETS["camus"]
    what = f"{about.title}; official training split, {patients - config.held_back} patients ({about.citation})"
    write_origin(target, PreparedOrigin(training_data=(what,), licence=CAMUS_LICENCE, non_commercial=True))


def _zip(folder: Path, path: Path) -> int:
    """Pack a folder losslessly; returns the size. LZMA also finds a still that a store repeats."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
    return path.stat().st_size


def _thinned(whole: Path, folder: Path, share: float) -> Path:
    """The same sets with a share of the training clips, at least one of each, spread evenly."""
    shutil.rmtree(folder, ignore_errors=True)
    for source in sorted(path for path in whole.iterdir() if path.is_dir()):
        target = folder / source.name
        target.mkdir(parents=True)
        store = ClipStore(source / TRAINING)
        count = max(1, int(share * len(store)))
        rows = np.linspace(0, len(store) - 1, count).round().astype(int)
        for first in range(0, count, _CLIPS_PER_SHARD):
            chosen = rows[first : first + _CLIPS_PER_SHARD]
            frames = np.stack([store.frames(row) for row in chosen])
            labels = np.stack([store.labels(row) for row in chosen])
            truth = {name: store.truth[name][chosen] for name in TRUTH_FIELDS}
            write_shard(target / TRAINING / f"shard-{first // _CLIPS_PER_SHARD:05d}", frames, labels, truth)
        if (source / JUDGING).is_dir():
            shutil.copytree(source / JUDGING, target / JUDGING)
        shutil.copyfile(source / ORIGIN_FILE, target / ORIGIN_FILE)
    return folder
