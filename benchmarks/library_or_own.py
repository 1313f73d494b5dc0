"""Our metrics, MetaImage reader and DICOM pre-check beside libraries: values, milliseconds, and hostile files.

In an environment with EchoApex: ``pip install monai torchmetrics SimpleITK``, then
``OMP_NUM_THREADS=1 python benchmarks/library_or_own.py``. Figures: ``docs/decisions/0013-library-or-own-code.md``.
"""

from __future__ import annotations

import struct
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.metrics
import numpy as np
import pydicom
import SimpleITK
import sklearn.metrics
import torch
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from torchmetrics.functional.classification import binary_auroc

import echoapex
from echoapex.domain import Spacing
from echoapex.io.clip_source import ReadError
from echoapex.io.meta_image import read_meta_image_header, read_meta_image_samples
from echoapex.metrics.classification import auroc
from echoapex.metrics.segmentation import dice, hd95_mm

EMPTY_ITEM = b"\xfe\xff\x00\xe0" + bytes(4)
ITEMS = 2_000_000


def row(name: str, work: Callable[[], Any]) -> None:
    """Print what a call gives, and the median of five times."""
    shown = work()
    shown = "" if isinstance(shown, np.ndarray) else f"{float(shown):.4f}"
    print(f"{name:40} {shown:>10} {1000 * sorted(timeit.repeat(work, number=1, repeat=5))[2]:9.2f} ms")


def compare_metrics() -> None:
    y, x = np.mgrid[:512, :512]
    a = ((y - 250) / 140) ** 2 + ((x - 250) / 90) ** 2 < 1
    b = ((y - 256) / 146) ** 2 + ((x - 244) / 94) ** 2 < 1
    first, second = (torch.from_numpy(mask)[None, None].float() for mask in (a, b))
    row("Dice, EchoApex", lambda: dice(a, b))
    row("Dice, scikit-learn f1_score", lambda: sklearn.metrics.f1_score(a.ravel(), b.ravel()))
    row("Dice, MONAI", lambda: monai.metrics.compute_dice(first, second))
    row("HD95, EchoApex", lambda: hd95_mm(a, b, Spacing(row_mm=0.3, column_mm=0.4)))
    options = {"include_background": True, "percentile": 95, "spacing": [0.3, 0.4]}
    row("HD95, MONAI", lambda: monai.metrics.compute_hausdorff_distance(first, second, **options))
    row("HD95 of a missed structure, EchoApex", lambda: hd95_mm(a, a & False, Spacing(row_mm=0.3, column_mm=0.4)))
    row(
        "HD95 of a missed structure, MONAI",
        lambda: monai.metrics.compute_hausdorff_distance(first, 0 * first, **options),
    )
    rng = np.random.default_rng(0)
    truth = rng.random(2000) < 0.3
    score = np.round(rng.random(2000) + 0.5 * truth, 2)
    row("AUROC, EchoApex", lambda: auroc(truth, score))
    row("AUROC, scikit-learn", lambda: sklearn.metrics.roc_auc_score(truth, score))
    row("AUROC, torchmetrics", lambda: binary_auroc(torch.from_numpy(score), torch.from_numpy(truth).long()))


def compare_meta_image(folder: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 255, (20, 1024, 768), dtype=np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume), str(folder / "a.mhd"))

    def ours(name: str) -> np.ndarray:
        return np.array(read_meta_image_samples(read_meta_image_header(folder / name, name), name))

    def theirs(name: str) -> np.ndarray:
        return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / name)))

    row("MetaImage of 15 MiB, EchoApex", lambda: ours("a.mhd"))
    row("MetaImage of 15 MiB, SimpleITK", lambda: theirs("a.mhd"))
    print("equal samples:", np.array_equal(ours("a.mhd").T, theirs("a.mhd")))
    with tempfile.TemporaryDirectory() as elsewhere:
        (Path(elsewhere) / "other.raw").write_bytes((folder / "a.raw").read_bytes())
        header = (folder / "a.mhd").read_text().replace("a.raw", f"{elsewhere}/other.raw")
        (folder / "outside.mhd").write_text(header)
        print("a data file in another folder, SimpleITK reads", theirs("outside.mhd").shape)
        try:
            ours("outside.mhd")
        except ReadError as error:
            print("a data file in another folder, EchoApex:", error)


def compare_dicom(folder: Path) -> None:
    """A file of 15 MiB whose ultrasound regions claim two million empty items."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.SequenceOfUltrasoundRegions = pydicom.Sequence([Dataset()])
    path = folder / "items.dcm"
    dataset.save_as(path, enforce_file_format=True)
    raw = path.read_bytes()
    start = raw.index(b"\x18\x00\x11\x60SQ") + 12
    length = struct.unpack("<I", raw[start - 4 : start])[0]
    items = struct.pack("<I", len(EMPTY_ITEM) * ITEMS) + EMPTY_ITEM * ITEMS
    path.write_bytes(raw[: start - 4] + items + raw[start + length :])
    began = time.process_time()
    try:
        echoapex.read(path)
    except ReadError as error:
        print(f"DICOM, EchoApex: {time.process_time() - began:.2f} s: {error}")
    began = time.process_time()
    found = len(pydicom.dcmread(path, stop_before_pixels=True).SequenceOfUltrasoundRegions)
    print(f"DICOM, pydicom alone: {time.process_time() - began:.1f} s for {found} items")


if __name__ == "__main__":
    torch.set_num_threads(1)
    compare_metrics()
    with tempfile.TemporaryDirectory() as place:
        compare_meta_image(Path(place))
        compare_dicom(Path(place))
