"""How near chamber values of an analysis are to those of simulated studies that no weights have seen.

    echoapex phantom --studies 24 --seed 1000100 --views A4C,A2C,PLAX --labels all --out heldout/
    python benchmarks/chamber_accuracy.py --studies heldout/ [--bundle phantom]

Values of the study are compared with three kinds of truth:

- ``label maps``: the same formula on the true label maps of the true ED and ES frames. This checks the outlines and the
  choice of frames, not the formula.
- ``simulated heart``: the volume of the structure in three dimensions at end-systole. For the atria this checks the
  formula too: one or two planes stand for the whole chamber.
- ``truth.json``: stroke volume and output from the true EDV, ESV and heart rate, and RVIDd from the simulated surfaces.

Prints one table: number of studies with both values, mean difference (value minus truth), mean absolute difference, and
the standard deviation of the difference. ``missing`` counts studies that have a truth and no value. A last line counts
the reverse for RVIDd: studies whose true label maps are cut off by the image, and those of them that have a value.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

import echoapex
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.measure import (
    AtrialShape,
    MeasureError,
    atrial_disc_volume_ml,
    biplane_atrial_area_length_volume,
    biplane_atrial_disc_volume,
    cardiac_output_l_per_min,
    chamber_area_cm2,
    endocardial_length,
    fractional_area_change_percent,
    is_cut_off,
    longitudinal_strain_percent,
    measure_atrial_shape,
    measure_lv_shape,
    sphericity_index,
    stroke_volume_ml,
    trace_outline,
)
from echoapex.measure.rv_diameter import measure_rv_diameter, require_border_in_image
from echoapex.models.registry import DEFAULT_SET
from echoapex.phantom.anatomy import Heart
from echoapex.phantom.patient import sample_patient
from echoapex.phantom.truth import TRUTH_FILE, ClipTruth, StudyTruth, is_held_out, read_label_maps, read_truth
from echoapex.vocabulary import Quantity, Structure, View

_STEP_MM = 2.0
Truths = dict[tuple[Quantity, str], float]


class _Frames:
    """The true label maps of one clip at its true ED and ES."""

    def __init__(self, folder: Path, clip: ClipTruth) -> None:
        labels = read_label_maps(folder / clip.label_file)
        self.clip, self.diastole, self.systole = clip, labels[clip.ed_frame], labels[clip.es_frame]

    def strain(self) -> float:
        frames = (self.diastole, self.systole)
        shapes = [measure_lv_shape(each == 1, self.clip.spacing, each == 3) for each in frames]
        return longitudinal_strain_percent(*(endocardial_length(shape) for shape in shapes))

    def lv(self) -> tuple[float, float]:
        shape = measure_lv_shape(self.diastole == 1, self.clip.spacing, self.diastole == 3)
        return shape.length, sphericity_index(shape)

    def atrium(self, atrium: Structure, ventricle: Structure) -> AtrialShape:
        shape = measure_atrial_shape(
            self.systole == atrium, self.systole == ventricle, self.clip.spacing, self.clip.sector
        )
        if shape.flags:
            raise MeasureError("cut off")
        return shape

    def rv_diameter_mm(self) -> float:
        if self.clip.walls is None:
            raise MeasureError("no line of the walls")
        outline = trace_outline(self.diastole == Structure.RIGHT_VENTRICLE)
        diameter = measure_rv_diameter(self.clip.walls.points_xy, outline, self.clip.spacing)
        return require_border_in_image(diameter, self.clip.spacing, self.clip.size, self.clip.sector).length_mm

    def right_ventricle(self) -> tuple[float, float]:
        outlines = [trace_outline(each == Structure.RIGHT_VENTRICLE) for each in (self.diastole, self.systole)]
        if any(is_cut_off(outline, self.clip.size, self.clip.sector) for outline in outlines):
            raise MeasureError("cut off")
        diastolic, systolic = (chamber_area_cm2(outline, self.clip.spacing) for outline in outlines)
        return diastolic, systolic


def true_values(folder: Path, truth: StudyTruth) -> Truths:
    """All values of one study that its truth gives, by quantity and kind of truth."""
    found: Truths = {}
    views = {clip.view: _Frames(folder, clip) for clip in truth.clips}
    four, two, plax = (views.get(view) for view in (View.A4C, View.A2C, View.PLAX))

    def add(kind: str, compute: Callable[[], Mapping[Quantity, float]]) -> None:
        with suppress(MeasureError):  # the true label maps do not show it
            found.update({(quantity, kind): value for quantity, value in compute().items()})

    if four and two:
        add("label maps", lambda: _of_two_planes(four, two))
        add("label maps", lambda: {Quantity.GLS_ENDOCARDIAL: (four.strain() + two.strain()) / 2})
        add("label maps", lambda: {Quantity.LV_LENGTH: max(four.lv()[0], two.lv()[0])})
    if four:
        add("label maps", lambda: {Quantity.SPHERICITY_INDEX: four.lv()[1]})
        add("label maps", lambda: _of_right_heart(four))
        add("label maps", lambda: {Quantity.RA_VOLUME: atrial_disc_volume_ml(four.atrium(*_RIGHT))})
    if plax:
        add("label maps", lambda: {Quantity.LA_DIAMETER: float(plax.atrium(*_LEFT).disc_diameters.max())})
        add("label maps", lambda: {Quantity.RVIDD: plax.rv_diameter_mm()})
        if plax.clip.walls is not None and plax.clip.walls.rvidd_mm is not None:
            found[Quantity.RVIDD, "truth.json"] = plax.clip.walls.rvidd_mm
    stroke = stroke_volume_ml(truth.edv_ml, truth.esv_ml)
    found[Quantity.STROKE_VOLUME, "truth.json"] = stroke
    found[Quantity.CARDIAC_OUTPUT, "truth.json"] = cardiac_output_l_per_min(stroke, truth.patient.heart_rate_bpm)
    volumes = solid_volumes_ml(truth.seed)
    found[Quantity.LA_VOLUME, "simulated heart"] = volumes[Structure.LEFT_ATRIUM]
    found[Quantity.LA_VOLUME_AREA_LENGTH, "simulated heart"] = volumes[Structure.LEFT_ATRIUM]
    found[Quantity.RA_VOLUME, "simulated heart"] = volumes[Structure.RIGHT_ATRIUM]
    return found


_LEFT = (Structure.LEFT_ATRIUM, Structure.LV_CAVITY)
_RIGHT = (Structure.RIGHT_ATRIUM, Structure.RIGHT_VENTRICLE)


def solid_volumes_ml(seed: int) -> dict[Structure, float]:
    """Volumes of the atria of a simulated heart at end-systole, counted on a grid of 2 mm."""
    heart = Heart(sample_patient(seed))
    across = np.arange(-110, 110, _STEP_MM, dtype=np.float32)
    x, y, z = np.meshgrid(across, across, np.arange(-110, 20, _STEP_MM, dtype=np.float32), indexing="ij")
    rows = len(across)
    points = (x.reshape(rows, -1), y.reshape(rows, -1), z.reshape(rows, -1))
    labels = heart.labels(points, heart.cycle.end_systole_phase)
    atria = (Structure.LEFT_ATRIUM, Structure.RIGHT_ATRIUM)
    return {atrium: float(np.count_nonzero(labels == atrium)) * _STEP_MM**3 / 1000 for atrium in atria}


def _of_two_planes(four: _Frames, two: _Frames) -> dict[Quantity, float]:
    shapes = four.atrium(*_LEFT), two.atrium(*_LEFT)
    return {
        Quantity.LA_VOLUME: biplane_atrial_disc_volume(*shapes).volume_ml,
        Quantity.LA_VOLUME_AREA_LENGTH: biplane_atrial_area_length_volume(*shapes).volume_ml,
    }


def _of_right_heart(four: _Frames) -> dict[Quantity, float]:
    diastolic, systolic = four.right_ventricle()
    return {
        Quantity.RV_ED_AREA: diastolic,
        Quantity.RV_ES_AREA: systolic,
        Quantity.RV_FAC: fractional_area_change_percent(diastolic, systolic),
    }


def compare(folders: Sequence[Path], bundle: str) -> str:
    """A Markdown table of the differences over all studies."""
    model = echoapex.load(bundle, device="cpu")
    pairs: dict[tuple[Quantity, str], list[tuple[float, float | None]]] = {}
    cut_off: list[bool] = []
    for folder in folders:
        truth = read_truth(folder)
        report = model.analyze(sorted(folder.glob("*.dcm")), options=AnalysisOptions(overlays=False))
        known_values = true_values(folder, truth)
        if truth.find(View.PLAX) is not None and (Quantity.RVIDD, "label maps") not in known_values:
            cut_off.append(report.find(Quantity.RVIDD) is not None)
        for (quantity, kind), true in known_values.items():
            found = report.find(quantity)
            pairs.setdefault((quantity, kind), []).append((true, found.value if found else None))
    rows = [
        "| value | unit | truth | n | missing | mean truth | mean difference | mean absolute difference | SD |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (quantity, kind), both in sorted(pairs.items(), key=lambda item: list(Quantity).index(item[0][0])):
        known = [(true, value) for true, value in both if value is not None]
        missing = len(both) - len(known)
        if not known:
            rows.append(f"| {quantity.display_name} | {quantity.unit} | {kind} | 0 | {missing} | | | | |")
            continue
        true = np.array([pair[0] for pair in known])
        errors = np.array([value - known_true for known_true, value in known])
        numbers = " | ".join(
            f"{each:.3g}" for each in (true.mean(), errors.mean(), np.abs(errors).mean(), errors.std())
        )
        rows.append(f"| {quantity.display_name} | {quantity.unit} | {kind} | {len(known)} | {missing} | {numbers} |")
    rows += ["", f"RVIDd where the true label maps give none: {sum(cut_off)} of {len(cut_off)} studies have a value."]
    return "\n".join(rows)


def main(arguments: Sequence[str]) -> int:
    """Run the comparison; 2 where a study is missing or was trained on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=Path, required=True, help="folder of simulated studies")
    parser.add_argument("--bundle", default=DEFAULT_SET, help="name or folder of the set of weights")
    chosen = parser.parse_args(arguments)
    folders = sorted(path.parent for path in chosen.studies.glob(f"*/{TRUTH_FILE}"))
    if not folders:
        sys.stderr.write(f"{chosen.studies}: there are no simulated studies; write some with 'echoapex phantom'\n")
        return 2
    if not all(is_held_out(read_truth(folder).seed) for folder in folders):
        sys.stderr.write(f"{chosen.studies}: a study is for training; take seeds of 1,000,000 and more\n")
        return 2
    sys.stdout.write(compare(folders, chosen.bundle) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
