"""What corrections teach: an oracle clicks on patients of CAMUS, adapters learn from its masks, and others judge.

    python benchmarks/learning_loop.py --root CAMUS_FOLDER --out runs/learning_loop \
        [--photographs bundles/research/encoder] [--patients 5 10 20] [--steps 60] \
        [--photograph-steps 120]

The loop of the page, with a person who knows the truth. She corrects the automatic outlines of the first patients of
the official ``train`` split, frame by frame, by the protocol of ``echoapex clicks``: from the name, one click after the
other on the largest error, until Dice is 0.9 or ten clicks are made. What she ends with is stored as corrections and
taught by ``echoapex finetune corrections_segmentation``; a quarter of her patients, chosen by the data set
``corrections``, only judges. From the first number of patients to the next she works with the set that won on those
patients. The same corrections also teach a decoder with fresh weights on the encoder of ``--photographs``.

Judged are the automatic outlines of the official ``val`` split (nothing was chosen by it), and the clicks that the next
ten patients of ``train`` need with the set as it was at first and as it is then. Patients are resampled for the 95 %
intervals. Simulated patients tell what the set forgets of what nobody corrected. Everything is computed with
``--threads`` threads on the CPU. An interrupted run goes on by the same command. Writes ``learning_loop.json`` and
``learning_loop.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from echoapex.config import ConfigError
from echoapex.data.datasets.corrections import CORRECTIONS_FOLDER, CorrectedClip, note_corrected_clip, split_of
from echoapex.data.datasets.records import DatasetError
from echoapex.data.frame_source import HeldBackFrames
from echoapex.data.preprocess import to_grey
from echoapex.data.stores.clip_store import ClipStore
from echoapex.data.stores.phantom_store import PhantomStoreConfig, draw_phantom_store
from echoapex.domain.corrections import ClipCorrection
from echoapex.evaluate.clicks import SimulatedPerson
from echoapex.evaluate.metrics_file import score_mean
from echoapex.evaluate.reference import ReferenceClip, ReferenceSetError
from echoapex.evaluate.truth import pack_camus
from echoapex.infer.interactive.clicks import InteractiveSegmenter
from echoapex.io.sector import find_sector
from echoapex.io.study_files import read_clip
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.models.bundle import BundleError, read_card, save_bundle
from echoapex.models.decoders.promptable import PromptableConfig, PromptableDecoder
from echoapex.models.encoder import DIMENSIONS
from echoapex.models.registry import ENCODER, find_set
from echoapex.recipes.dataset_task import DatasetSegmentationRecipe
from echoapex.recipes.recipe import Lineage, Provenance
from echoapex.recipes.runner import Reporting, finetune
from echoapex.train.journal import JOURNAL_FILE, read_figures
from echoapex.vocabulary import Application, Structure, View

TARGET_DICE, MOST_CLICKS, NEXT_PATIENTS = 0.9, 10, 10
SIMULATED, SIMULATED_VIEWS = 8, (View.A4C, View.PLAX, View.PSAX_AV)
_SEGMENTATION = Application.SEGMENTATION.value


class Outlined(NamedTuple):
    """One structure of one frame: whose, Dice of the automatic outline, and the clicks to the target (or the cap)."""

    patient: str
    structure: str
    dice: float
    clicks: int


@dataclass(frozen=True)
class Patient:
    """A patient of CAMUS with both views, packed as clips of two frames."""

    name: str
    clips: tuple[ReferenceClip, ...]


@dataclass(frozen=True)
class Person:
    """The oracle at work with one set of weights."""

    segmenter: InteractiveSegmenter

    def outline(self, patient: Patient, most: int) -> Iterator[tuple[ReferenceClip, list[Outlined], np.ndarray]]:
        """The clips of a patient with what each outline took, and the label maps (frames, height, width) at the end.

        Args:
            patient: both views.
            most: largest number of clicks on one outline; 0 leaves the automatic ones.
        """
        for clip in patient.clips:
            pixels = np.stack([to_grey(frame) for frame in read_clip(clip.path).frames])
            sector, truth = find_sector(pixels), clip.read_labels()
            maps, cases = np.zeros(pixels.shape, np.uint8), list[Outlined]()
            for frame in sorted(truth):
                encoded = self.segmenter.encode(pixels[frame], sector)
                best = np.zeros(pixels.shape[1:], np.float32)
                for structure in clip.structures:
                    mask = truth[frame] == structure
                    if not mask.any():
                        continue
                    person = SimulatedPerson(self.segmenter, encoded, mask)
                    run, logits = person.click_to_logits(most, structure, until_dice=TARGET_DICE)
                    assert logits is not None
                    needed = run.clicks_to(TARGET_DICE)
                    clicks = most if needed is None else needed
                    cases.append(Outlined(patient.name, structure.key, run.dice[0], clicks))
                    maps[frame][logits > best] = int(structure)
                    best = np.maximum(best, logits)
            yield clip, cases, maps


class Loop:
    """All runs below one folder: what is done is read from there and not repeated."""

    def __init__(self, root: Path, out: Path, start: str, steps: tuple[int, int]) -> None:
        self.out, self.start = out, start
        self.steps, self.photograph_steps = steps
        self.state = out / "state"
        self.training = self._packed(root, "train")
        self.judging = self._packed(root, "val")

    def _packed(self, root: Path, split: str) -> list[Patient]:
        packed = pack_camus(root, split, self.out / "inputs" / split)
        return [Patient(study.patient, study.clips) for study in packed.studies]

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """The JSON of a piece of work, computed where it is not yet there."""
        path = self.out / "done" / f"{name}.json"
        if not path.is_file():
            sys.stderr.write(f"{name}\n")
            write_bytes_atomically(path, json.dumps(compute()).encode())
        return json.loads(path.read_text(encoding="utf-8"))

    def correct(self, patients: Sequence[Patient], weights: str) -> list[Outlined]:
        """Correct patients with a set and store the corrections."""
        person, cases = Person(InteractiveSegmenter.load(weights, "cpu")), list[Outlined]()
        for patient in patients:
            for clip, outlined, maps in person.outline(patient, MOST_CLICKS):
                self._store(patient, clip, maps)
                cases += outlined
        return cases

    def _store(self, patient: Patient, clip: ReferenceClip, maps: np.ndarray) -> None:
        """Write one correction as the page writes it."""
        assert clip.view is not None
        keys = tuple(structure.key for structure in clip.structures)
        correction = ClipCorrection(
            clip_id=clip.view.value, input_sha256=clip.sha256, view=clip.view,
            outlined=dict.fromkeys(range(len(maps)), keys),
        )  # fmt: skip
        place = self.state / CORRECTIONS_FOLDER / patient.name
        place.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            place / f"{correction.clip_id}.npz", frames=np.arange(len(maps)), labels=maps,
            structures=np.array([structure.key for structure in Structure]),
        )  # fmt: skip
        write_bytes_atomically(place / f"{correction.clip_id}.json", correction.model_dump_json().encode())
        listed = CorrectedClip(
            study=patient.name, clip=correction.clip_id, patient=patient.name, source=str(clip.path.resolve())
        )
        note_corrected_clip(self.state, listed)

    def copy_state(self, patients: int) -> list[str]:
        """Keep the corrections of so many patients apart, for what learns from them later."""
        kept = self.out / f"state-{patients}"
        shutil.copytree(self.state, kept, dirs_exist_ok=True)
        return sorted(path.name for path in (kept / CORRECTIONS_FOLDER).iterdir())

    def teach_photographs(self, name: str, patients: int, encoder: Path) -> dict[str, Any]:
        """Learn from the corrections of so many patients, from the encoder of photographs."""
        state = self.out / f"state-{patients}"
        return self.teach(name, self.photographs(encoder), state, self.photograph_steps)

    def teach(self, name: str, start: str, state: Path, steps: int) -> dict[str, Any]:
        """Learn from corrections, from a set."""
        began, seconds = time.process_time(), time.monotonic()
        task = {"root": str(state), "start": start}
        train = {"steps": steps, "score_every": steps, "trackers": []}
        told = Reporting(lambda what, done, total: None, lambda step, steps, loss: None, _say)
        finetune("corrections_segmentation", {"task": task, "train": train}, self.out / name, reporting=told)
        figures = read_figures(self.out / name / JOURNAL_FILE)
        return {
            "cpu_s": round(time.process_time() - began), "wall_s": round(time.monotonic() - seconds),
            "before": mean_dice(figures.start), "after": mean_dice(figures.latest),
        }  # fmt: skip

    def judge(self, weights: str) -> list[Outlined]:
        """The automatic outlines of ``val``."""
        person = Person(InteractiveSegmenter.load(weights, "cpu"))
        return [case for patient in self.judging for _, cases, _ in person.outline(patient, 0) for case in cases]

    def next_clicks(self, after: int, weights: str) -> list[Outlined]:
        """What the next patients need."""
        person = Person(InteractiveSegmenter.load(weights, "cpu"))
        following = self.training[after : after + NEXT_PATIENTS]
        return [case for patient in following for _, cases, _ in person.outline(patient, MOST_CLICKS) for case in cases]

    def remember(self, weights: str) -> dict[str, float]:
        """Dice of every structure on simulated patients, whom the first set learned to read."""
        place = self.out / "simulated"
        config = PhantomStoreConfig(
            patients=SIMULATED, first_seed=190_000, views=SIMULATED_VIEWS, frames=2, labelled=2, size=224
        )
        if not place.is_dir():
            draw_phantom_store(config, place, 1, lambda done, total: None)
        recipe = DatasetSegmentationRecipe(
            dataset="corrections",
            root=self.state,
            start=weights,
            size_of_start=True,
            setting={"name": "lora"},  # type: ignore[arg-type]
        )
        task, side = recipe.build_task().eval(), recipe.drawn_frames().sizes[-1][1]
        frames = HeldBackFrames(ClipStore(place), side, 16)
        batches = [task.cases(frames.batch(number))["dice"] for number in range(len(frames))]
        return {name: round(value, 5) for name, value in task.summarise({"dice": torch.cat(batches)}).items()}

    def photographs(self, encoder: Path) -> str:
        """A set of an encoder of photographs and a decoder with fresh weights, at the size of the start."""
        place = self.out / "photographs"
        if not (place / _SEGMENTATION).is_dir():
            like = read_card(find_set(self.start).find_task(_SEGMENTATION).decoder)
            shutil.copytree(encoder, place / ENCODER, dirs_exist_ok=True)
            card = read_card(encoder)
            config = PromptableConfig(width=DIMENSIONS[card.architecture["size"]].width, pyramid_blocks=2)  # type: ignore[index]
            torch.manual_seed(0)
            lineage = Lineage(Provenance(name="fresh-decoder", training_data=("none: random weights",)), [encoder])
            details = {
                "task": _SEGMENTATION, "label_order": tuple(structure.key for structure in Structure),
                "architecture": {"decoder": config.model_dump(mode="json"), "blocks": [2, 5, 8, 11]},
                "base_encoder_sha256": card.files["weights.safetensors"],
            }  # fmt: skip
            step = math.lcm(int(str(card.architecture["patch_size"])), 8)  # the decoder halves three times
            fresh = lineage.card("task", like.preprocessing.size[0] // step * step, **details)
            save_bundle(place / _SEGMENTATION, PromptableDecoder.build(config), fresh, half=True)
        return str(place)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def mean_dice(scores: dict[str, float]) -> float:
    """Mean Dice over the structures that were scored."""
    return float(np.mean([value for name, value in scores.items() if name.startswith("dice_")]))


def run(loop: Loop, numbers: Sequence[int], photographs: Path | None) -> dict[str, Any]:
    """All stages; what the tables are made of."""
    numbered = sorted(numbers)
    at_first = summarise(loop.once("start-val", lambda: loop.judge(loop.start)))
    remembered = loop.once("start-simulated", lambda: loop.remember(loop.start))
    rows: list[dict[str, Any]] = [{"patients": 0, "val": at_first, "simulated": remembered}]
    weights, corrected = loop.start, 0
    for patients in numbered:
        group = loop.training[corrected:patients]
        spent = loop.once(f"{patients}-correct", lambda g=group, w=weights: loop.correct(g, w))
        learned = loop.once(
            f"{patients}-teach", lambda n=patients: loop.teach(f"{n}-patients", loop.start, loop.state, loop.steps)
        )
        own = str(loop.out / f"{patients}-patients" / "bundles")
        row = {
            "patients": patients,
            "teach": sum(split_of(patient.name) == "train" for patient in loop.training[:patients]),
            "spent": summarise(spent),
            "held_back": learned,
            "val": summarise(loop.once(f"{patients}-val", lambda w=own: loop.judge(w))),
            "next_before": summarise(
                loop.once(f"{patients}-next-before", lambda n=patients: loop.next_clicks(n, loop.start))
            ),
            "next_after": summarise(
                loop.once(f"{patients}-next-after", lambda n=patients, w=own: loop.next_clicks(n, w))
            ),
            "simulated": loop.once(f"{patients}-simulated", lambda w=own: loop.remember(w)),
        }
        if photographs is not None:
            loop.once(f"{patients}-photographs-state", lambda n=patients: loop.copy_state(n))
        rows.append(row)
        corrected = patients
        if learned["after"] > learned["before"]:
            weights = own
    for row in rows[1:] if photographs is not None else []:
        name = f"{row['patients']}-photographs-{loop.photograph_steps}"
        row["photographs_held_back"] = loop.once(
            f"{name}-teach", lambda n=name, r=row: loop.teach_photographs(n, r["patients"], photographs)
        )
        place = str(loop.out / name / "bundles")
        row["photographs_val"] = summarise(loop.once(f"{name}-val", lambda w=place: loop.judge(w)))
    return {
        "start": loop.start,
        "steps": loop.steps,
        "target_dice": TARGET_DICE,
        "most_clicks": MOST_CLICKS,
        "rows": rows,
    }


def summarise(cases: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Mean Dice and mean clicks with intervals, by structure and of all."""
    outlined = [Outlined(*case) for case in cases]
    found: dict[str, Any] = {}
    for name in ("all", *dict.fromkeys(case.structure for case in outlined)):
        own = [case for case in outlined if name in ("all", case.structure)]
        patients = [case.patient for case in own]
        found[name] = {
            "dice": score_mean([case.dice for case in own], patients).model_dump(),
            "clicks": score_mean([float(case.clicks) for case in own], patients).model_dump(),
        }
    return found


def write_table(results: dict[str, Any]) -> str:
    """The results in Markdown: Dice on ``val``, the loop itself, and what is forgotten."""
    rows = results["rows"]
    names = [structure.key for structure in Structure if structure.key in rows[0]["val"]]
    heads = ["corrected patients", *(Structure.from_key(name).display_name for name in names), "all three"]
    photographs = any("photographs_val" in row for row in rows)
    cells = [
        [str(row["patients"]), *(_figure(row["val"][name]["dice"], 3) for name in (*names, "all"))] for row in rows
    ]
    if photographs:
        heads.append("all three, from photographs")
        for row, own in zip(rows, cells, strict=True):
            own.append(_figure(row["photographs_val"]["all"]["dice"], 3) if "photographs_val" in row else "-")
    loop_heads = (
        "corrected patients", "of them teach", "clicks per outline spent", "Dice held back, before", "after",
        "clicks per outline of the next ten patients, before", "after", "CPU min of learning",
    )  # fmt: skip
    loop_cells = [
        [
            str(row["patients"]), str(row["teach"]), _figure(row["spent"]["all"]["clicks"], 2),
            f"{row['held_back']['before']:.3f}", f"{row['held_back']['after']:.3f}",
            _figure(row["next_before"]["all"]["clicks"], 2), _figure(row["next_after"]["all"]["clicks"], 2),
            f"{row['held_back']['cpu_s'] / 60:.1f}",
        ]
        for row in rows[1:]
    ]  # fmt: skip
    known = [structure for structure in Structure if f"dice_{structure.key}" in rows[0]["simulated"]]
    kept_heads = ["corrected patients", *(structure.display_name for structure in known)]
    kept = [[str(row["patients"]), *(f"{row['simulated'][f'dice_{s.key}']:.3f}" for s in known)] for row in rows]
    return "\n".join(_table(heads, cells) + _table(loop_heads, loop_cells) + _table(kept_heads, kept))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_line(heads), _line(["---"] * len(heads)), *map(_line, rows), ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(score: dict[str, Any], digits: int) -> str:
    interval = score["interval"]
    spread = f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else ""
    return f"{score['value']:.{digits}f}{spread}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the folder of CAMUS")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", default="open", help="the set that the site begins with")
    parser.add_argument("--photographs", type=Path, help="an encoder bundle of photographs, to compare with")
    parser.add_argument("--patients", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--photograph-steps", type=int, help="of a decoder with fresh weights; by default as many")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        steps = chosen.steps, chosen.photograph_steps or chosen.steps
        results = run(Loop(chosen.root, chosen.out, chosen.start, steps), chosen.patients, chosen.photographs)
    except (BundleError, ConfigError, DatasetError, ReferenceSetError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    table = write_table(results)
    write_bytes_atomically(chosen.out / "learning_loop.json", (json.dumps(results, indent=1) + "\n").encode())
    write_bytes_atomically(chosen.out / "learning_loop.md", table.encode())
    sys.stdout.write(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
