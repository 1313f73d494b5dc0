"""Views of real clips by a set of weights that may never have seen a patient: a table of true and called views.

    python benchmarks/real_clips.py --clips FOLDER [--bundle NAME] [--probe tte] [--out FILE]

FOLDER holds one folder of frames per clip, named after its view (A4C, A2C, A3C, PLAX, PSAX-AV, PSAX-PM). Two real DICOM
loops that come with pip packages (``pip install 'echoapex[demo]'``) are added: an A4C and a PLAX with colour Doppler.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import echoapex
from echoapex.cli.demo import REAL_FILES, DemoError, find_sample
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.models.registry import DEFAULT_SET
from echoapex.vocabulary import Probe, View

_DICOM_VIEWS = {"color3d_jpeg_baseline.dcm": View.A4C, "ultrasound-multiframe.dcm": View.PLAX}


class RealClipsError(ValueError):
    """Clips that cannot be scored; the message says what to do."""


@dataclass(frozen=True)
class Row:
    """One clip: what it shows, what it was called (None when set aside), and how sure the call was."""

    clip: str
    truth: str
    called: str | None
    probability: float

    @property
    def is_right(self) -> bool:
        return self.truth == self.called


def find_real_clips(folder: Path) -> Iterator[tuple[Path, View]]:
    """Clip folders named after views, then the DICOM loops that are installed.

    Raises:
        RealClipsError: no folder bears the name of a view.
    """
    names = {view.value.replace("_", "-").upper(): view for view in View}
    named = [(path, names[path.name.upper()]) for path in sorted(folder.iterdir()) if path.name.upper() in names]
    if not named:
        raise RealClipsError(f"{folder}: holds no folder named after a view ({', '.join(sorted(names))})")
    yield from named
    for sample in REAL_FILES:
        if sample.name in _DICOM_VIEWS:
            try:
                yield find_sample(sample), _DICOM_VIEWS[sample.name]
            except DemoError:
                continue


def classify(path: Path, truth: View, bundle: str, probe: Probe | None) -> Row:
    """The view of one clip, by the whole analysis."""
    (clip,) = echoapex.analyze(path, bundle=bundle, options=AnalysisOptions(contours="ed_es", probe=probe)).clips
    called = clip.view.value if clip.view is not None else None
    best = max(clip.view_probabilities.values(), default=0.0)
    return Row(path.name, truth.value, called, round(best, 3))


def write_table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, with the count of right ones."""
    lines = ["| clip | true view | called | probability |", "|---|---|---|---|"]
    lines += [f"| {row.clip} | {row.truth} | {row.called or 'set aside'} | {row.probability:.2f} |" for row in rows]
    return "\n".join([*lines, "", f"{sum(row.is_right for row in rows)} of {len(rows)} right"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--bundle", default=DEFAULT_SET)
    parser.add_argument("--probe", type=lambda name: Probe(name.upper()), default=None, help="tte, tee or ice")
    parser.add_argument("--out", type=Path, default=None, help="also write the rows as JSON")
    chosen = parser.parse_args(arguments)
    try:
        clips = list(find_real_clips(chosen.clips))
        rows = [classify(path, truth, chosen.bundle, chosen.probe) for path, truth in clips]
    except RealClipsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(write_table(rows) + "\n")
    if chosen.out is not None:
        chosen.out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
