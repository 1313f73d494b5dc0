"""CAMUS with few labelled patients: what the start of the encoder is worth when 5, 10, 25 or 50 patients teach.

    python benchmarks/few_shot_camus.py --root CAMUS_FOLDER --out runs/few_shot --start random \
        --start phantom=src/echoapex/weights/phantom/encoder [--patients 5 10 25 50] [--seeds 2] [--setting lora]

Every start gets a fresh promptable decoder and runs the recipe ``camus_segmentation`` for equally many steps on the
same patients at 112 pixels; a seed chooses patients and order. A given encoder (``NAME=BUNDLE``) learns in the way of
``--setting``, a random one (``random``: ViT-Ti/16, ``random-small``: ViT-S/14) as a whole. Judged are the last 40
patients of the official training split, whom no run learns from; the official validation split is left alone.

A run that was interrupted goes on by the same command, those that are done are not repeated. Writes
``few_shot_camus.json``, ``.md`` and, where matplotlib is installed, ``.png``: automatic Dice of three structures, with
95 % intervals of the mean over the seeds (Student's t).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from finetuned_labels import parse_start, sum_up
from label_efficiency_page import Results, draw_picture, write_table

from echoapex.config import ConfigError, build_config
from echoapex.data.datasets.records import DatasetError
from echoapex.models.bundle import BundleError, read_card, save_bundle
from echoapex.models.encoder import EncoderConfig, VisionTransformer
from echoapex.models.weights_file import WeightsError
from echoapex.recipes.recipe import Lineage, Provenance
from echoapex.recipes.runner import Reporting, finetune
from echoapex.train.checkpoint import CheckpointError

SIDE = 112
OFFICIAL_PATIENTS = 400
SCORES = {"LV cavity": "dice_lv_cavity", "LV myocardium": "dice_lv_myocardium", "left atrium": "dice_left_atrium"}
UNITS = dict.fromkeys(SCORES, "Dice")
_RANDOM = {
    "random": EncoderConfig(size="tiny", patch_size=16, in_channels=1, registers=4, image_size=SIDE, layer_scale=1.0),
    "random-small": EncoderConfig(size="small", patch_size=14, in_channels=1, image_size=SIDE, layer_scale=1.0),
}


def open_start(text: str, out: Path) -> tuple[str, Path]:
    """Name and encoder bundle of a start; a random encoder is written below ``out``.

    Raises:
        BundleError: the bundle is missing or damaged, or the text is neither.
    """
    name, given = parse_start(text, tuple(_RANDOM))
    if given is not None:
        return name, given
    bundle, config = out / name / "start", _RANDOM[name]
    torch.manual_seed(0)
    provenance = Provenance(name=name, training_data=("none: random weights",))
    card = Lineage(provenance, ()).card("encoder", SIDE, architecture=config.model_dump(mode="json"))
    save_bundle(bundle, VisionTransformer(config), card)
    return name, bundle


@dataclass(frozen=True)
class Study:
    """What all runs have in common: the folder of CAMUS, who judges, and how long a run learns."""

    root: Path
    held_back: int
    steps: int

    def run_arm(self, start: Path, setting: str, patients: int, seed: int, out: Path) -> dict[str, float]:
        """The scores of one start with a number of labelled patients and one seed."""
        width = build_config(EncoderConfig, read_card(start).architecture, str(start)).width
        overrides = {
            "task": {
                "root": str(self.root), "held_back": self.held_back, "click_rounds": 1,
                "encoder_bundle": str(start), "decoder_bundle": None,
                "decoder": {"width": width, "pyramid_blocks": 2}, "encoder_learning_rate_factor": 1.0,
                "setting": {"name": setting}, "few_shot": {"clips": 2 * patients, "seed": seed},
                "frames": {"sizes": [[0, SIDE]], "seed": seed},
            },
            "train": {
                "steps": self.steps, "score_every": self.steps, "checkpoint_every": self.steps, "average_decay": 0.98,
                "seed": seed,
            },
        }  # fmt: skip
        sys.stderr.write(f"{out}\n")
        reporting = Reporting(lambda what, done, total: sys.stderr.write(f"{what}: {done} of {total}\n"))
        return finetune("camus_segmentation", overrides, out, reporting=reporting, prepared=out.parents[2])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the folder of CAMUS")
    parser.add_argument("--start", action="append", required=True, help="random, random-small or NAME=BUNDLE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--patients", type=int, nargs="+", default=[5, 10, 25, 50])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--held-back", type=int, default=40, help="training patients who judge")
    parser.add_argument("--setting", default="lora", choices=["full", "frozen", "adapter", "lora", "bitfit"])
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 2:
        parser.error("--seeds: an interval needs 2 or more")
    study = Study(chosen.root, chosen.held_back, chosen.steps)
    results: Results = {}
    try:
        for name, start in [open_start(text, chosen.out) for text in chosen.start]:
            setting = "full" if name in _RANDOM else chosen.setting
            scores = {
                patients: [
                    study.run_arm(
                        start, setting, patients, seed, chosen.out / name / f"{patients}-patients-seed-{seed}"
                    )
                    for seed in range(chosen.seeds)
                ]
                for patients in chosen.patients
            }
            results[name] = sum_up(scores, OFFICIAL_PATIENTS - chosen.held_back, SCORES)
    except (BundleError, CheckpointError, ConfigError, DatasetError, WeightsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    (chosen.out / "few_shot_camus.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    table = write_table(results, UNITS, by_share=False)
    (chosen.out / "few_shot_camus.md").write_text(table, encoding="utf-8")
    sys.stdout.write(table)
    try:
        draw_picture(results, chosen.out / "few_shot_camus.png", UNITS, ())
    except ModuleNotFoundError:
        sys.stderr.write("matplotlib is not installed; no picture\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
