"""A training run for a GPU that is at hand for minutes: one command there, parts that come back, and a way to go on.

    python benchmarks/gpu_run.py pack camus=CAMUS_FOLDER development/mit --out pack.zip
    python benchmarks/gpu_run.py run research_joint --pack pack.zip --out back --task.encoder_bundle bundles/X/encoder
    python benchmarks/gpu_run.py resume back --pack pack.zip --out back2
    python benchmarks/gpu_run.py join back2 --out runs/joint

``run`` and ``resume`` work in the source tree without an installation. They simulate the clips that the recipe asks for
with all cores, train in bf16 with torch.compile, stop before ``--minutes`` are over, and leave in ``--out`` (or in the
folder that the environment variable OUT names) the fp16 weights, the checkpoint where it fits, cards, journal and log.
``--section.key value`` changes the recipe, as for ``echoapex finetune``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu_parts import Limits

    from echoapex.recipes.runner import Recipe

SOURCES = Path(__file__).resolve().parents[1] / "src"
NEEDED = {
    "cv2": "opencv-python-headless", "jaxtyping": "jaxtyping", "numpy": "numpy", "pydantic": "pydantic",
    "safetensors": "safetensors", "scipy": "scipy", "torch": "torch", "yaml": "pyyaml",
}  # fmt: skip
"""What training needs, by the name of the import; the readers of clips need more, and only ``pack`` uses them."""
LOG_FILE = "log.txt"
_FEWEST_MINUTES = 0.02


class GpuRunError(ValueError):
    """A run that cannot start or go on; the message says what to change."""


@dataclass(frozen=True)
class Call:
    """What was asked for: recipe, changes, pack and machine."""

    recipe: str
    overrides: dict[str, Any]
    pack: Path | None
    device: str
    work: Path
    workers: int
    ends_s: float
    """When training has to stop, by ``time.monotonic``."""
    from_weights: int | None = None
    """The step of the weights in ``work / "start"`` that the run went on from without a checkpoint."""
    has_checkpoint: bool = False
    """Whether a checkpoint lies in ``work / "run"``."""


class Log:
    """Lines for people, on standard error and in a file, with the seconds since the start."""

    def __init__(self, path: Path) -> None:
        self._path, self._began = path, time.monotonic()
        path.write_text("", encoding="utf-8")

    def __call__(self, text: str) -> None:
        line = f"{time.monotonic() - self._began:7.1f} s  {text}\n"
        sys.stderr.write(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line)


def missing_packages() -> list[str]:
    """The packages that training needs and that are not here, by the names that pip knows."""
    return [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]


def changes_for(call: Call, kind: str, sources: dict[str, Path], real: Sequence[str]) -> dict[str, Any]:
    """The overrides for this machine and for the prepared sets of a pack; what was typed comes last.

    Raises:
        GpuRunError: the recipe learns from real frames that the pack lacks, or cannot learn from a pack.
    """
    from echoapex.config import merge

    fast = call.device.startswith("cuda")
    train: dict[str, Any] = {"device": call.device, "parallel": "ddp", "checkpoint_every": 1_000_000_000}
    if fast:
        train |= {"precision": "bf16", "compile": True}
    changes: dict[str, Any] = {"train": train}
    if kind == "joint":
        lacking = [name for name in real if name not in sources]
        if sources and lacking:
            raise GpuRunError(f"{call.pack}: lacks {', '.join(lacking)}, which the recipe names under task.real")
        packed = {name: {"dataset": "prepared", "root": str(sources[name])} for name in real if name in sources}
        changes["task"] = {"real": packed}
    elif kind == "pretrain" and sources:
        changes["task"] = {"archives": [str(folder) for folder in sources.values()]}
    elif sources:
        raise GpuRunError(f"{call.recipe}: a {kind} recipe learns from no pack; leave --pack out")
    return merge(changes, call.overrides)


def can_compile(device: str) -> str:
    """Why torch.compile does not work on this machine; empty where it does. It is tried on one block."""
    import torch

    from echoapex.models.attention import Block

    try:
        block = Block(64, 2, None, 0.0, 1e-6).to(device)
        block.compile()
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            block(torch.randn(2, 8, 64, device=device, requires_grad=True)).sum().backward()
    except Exception as error:  # whatever the compiler raises, training goes on without it
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return ""


def draw_stores(recipe: Recipe, call: Call, log: Log) -> None:
    """Simulate the clips that the recipe asks for, with all cores.

    Raises:
        GpuRunError: it takes all the time there is.
    """
    from echoapex.recipes.clips import open_phantom_store
    from echoapex.recipes.recipe import Workspace

    def in_time(what: str, done: int, total: int) -> None:
        log(f"{what}: {done} of {total} shards")
        if time.monotonic() > call.ends_s:
            raise GpuRunError(f"{what}: time is up after {done} of {total} shards; ask for fewer patients")

    stores, judging = recipe.task.simulated_patients()
    every = {**stores, **({} if judging is None else {"validation": judging})}
    for name, config in every.items():
        open_phantom_store(name, config, Workspace(call.work, call.workers, in_time))


def start_from_weights(call: Call, kind: str) -> dict[str, Any]:
    """The overrides by which a run without a checkpoint goes on from its weights.

    Raises:
        GpuRunError: the weights are not enough for this recipe.
    """
    bundles = call.work / "start"
    if list(bundles.glob("*/adapter")):
        raise GpuRunError(f"{call.recipe}: has adapters beside the encoder, and these need the checkpoint; start anew")
    if kind == "pretrain":
        return {"task": {"start": str(bundles / "encoder")}}
    if kind in ("multitask", "joint"):
        given: dict[str, Any] = {"start": str(bundles), "encoder_bundle": None, "setting": {"start": None}}
        return {"task": given | ({"decoders": None} if kind == "joint" else {})}
    raise GpuRunError(f"{call.recipe}: a {kind} recipe cannot go on from its weights alone; start anew")


def write_position(recipe: Recipe, step: int, run: Path) -> None:
    """Write a checkpoint with the starting weights of a recipe at a later step, without moments of the optimiser."""
    import torch

    from echoapex.models.precision import choose_precision
    from echoapex.train.checkpoint import CHECKPOINT_FILE, Checkpoint, Position, save_checkpoint
    from echoapex.train.optim import WeightAverage, build_optimizer

    lasting = recipe.for_its_length()
    torch.manual_seed(lasting.train.seed)
    task = lasting.task.build_task()  # type: ignore[attr-defined]  # of the kinds that start_from_weights names
    parts = Checkpoint(
        task, build_optimizer(task, lasting.train.optim), WeightAverage(task, lasting.train.average_decay)
    )
    precision = choose_precision(lasting.train.precision, lasting.train.device).name
    about = {"recipe": json.dumps(recipe.identity(), default=str), "precision": precision}
    save_checkpoint(run / CHECKPOINT_FILE, parts, Position(step), about)


def read_step(run: Path) -> int:
    """The updates that the checkpoint of a run has seen."""
    from safetensors import safe_open

    from echoapex.train.checkpoint import CHECKPOINT_FILE

    with safe_open(run / CHECKPOINT_FILE, framework="pt") as file:
        return int(file.metadata()["step"])


def plan(call: Call, log: Log) -> tuple[dict[str, Any], Recipe]:
    """All overrides, and the recipe with them; a pack is unpacked.

    Raises:
        GpuRunError: there is no GPU, or the recipe and the pack do not fit together.
    """
    import torch
    from gpu_pack import unpack

    from echoapex.config import merge, read_recipe
    from echoapex.recipes.runner import build_recipe, find_recipe

    if call.device.startswith("cuda") and not torch.cuda.is_available():
        raise GpuRunError("PyTorch sees no GPU here; give --device cpu for a rehearsal")
    path = find_recipe(call.recipe)
    section = merge(read_recipe(path), call.overrides).get("task", {})
    kind = str(section.get("kind"))
    sources = {} if call.pack is None else unpack(call.pack, call.work / "pack")
    changes = changes_for(call, kind, sources, list(section.get("real", {})))
    if call.from_weights is not None:
        changes = merge(changes, start_from_weights(call, kind))
    if changes["train"].get("compile") and (why_not := can_compile(call.device)):
        log(f"torch.compile does not work here ({why_not}); training goes on without it")
        changes = merge(changes, {"train": {"compile": False}})
    return changes, build_recipe(merge(read_recipe(path), changes), path.name)


def train(call: Call, log: Log, out: Path, limits: Limits) -> None:
    """Prepare, train until time is up, and leave the parts in ``out``; a run that lies in ``call.work`` goes on."""
    import torch
    from gpu_parts import CALL_FILE, write_parts

    from echoapex.config import merge
    from echoapex.recipes.runner import Reporting, finetune

    changes, recipe = plan(call, log)
    run = call.work / "run"
    draw_stores(recipe, call, log)
    run.mkdir(parents=True, exist_ok=True)
    if call.from_weights is not None and not call.has_checkpoint:
        log(f"goes on from the weights of step {call.from_weights}; what no bundle holds, and all moments, begin anew")
        write_position(recipe, call.from_weights, run)
    minutes = (call.ends_s - time.monotonic()) / 60
    if minutes < _FEWEST_MINUTES:
        raise GpuRunError("no time is left for training; raise --minutes, or ask for fewer patients")
    minutes = min(minutes, recipe.train.minutes or minutes)
    log(f"trains for {minutes:.1f} minutes on {call.device}, PyTorch {torch.__version__}")

    def stepped(step: int, steps: int, loss: Any) -> None:
        if step % recipe.train.log_every == 0:
            log(f"step {step + 1} of {steps}: loss {loss.total.item():.4f}")

    reporting = Reporting(lambda what, done, total: log(f"{what}: {done} of {total}"), stepped, log)
    timed = merge(changes, {"train": {"minutes": minutes}})
    scores = finetune(call.recipe, timed, run, call.workers, reporting, call.work)
    log(", ".join(f"{name} {value}" for name, value in scores.items()))
    asked = {
        "recipe": call.recipe, "overrides": call.overrides, "pack": call.pack is not None,
        "from_weights": call.from_weights,
    }  # fmt: skip
    (run / CALL_FILE).write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
    left = write_parts(run, out, read_step(run), recipe.train.steps, limits)
    how = "exactly" if left.exact else "from the weights alone, since the checkpoint is too large"
    log(f"{left.mib} MiB in {out}: step {left.step} of {left.steps}; it can go on {how}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    chosen, rest = parser.parse_known_args(arguments)
    if missing := missing_packages():
        sys.stderr.write(f"gpu_run: not installed here: {', '.join(missing)}; carry their wheels along\n")
        return 2
    began = time.monotonic()
    _find_sources(chosen)
    from gpu_parts import PartsError

    from echoapex.config import ConfigError
    from echoapex.data.datasets import DatasetError
    from echoapex.data.stores.frame_reader import FrameReaderError
    from echoapex.models.bundle import BundleError
    from echoapex.models.weights_file import WeightsError
    from echoapex.train.checkpoint import CheckpointError
    from echoapex.train.monitor import DriftError
    from echoapex.train.trainer import NonFiniteLossError

    try:
        if rest and chosen.verb in ("pack", "join"):
            parser.error(f"unknown: {' '.join(rest)}")
        {"pack": _pack, "join": _join, "run": _run, "resume": _run}[chosen.verb](chosen, rest, began)
    except (
        GpuRunError, PartsError, ConfigError, DatasetError, FrameReaderError, BundleError, WeightsError,
        CheckpointError, DriftError, NonFiniteLossError,
    ) as error:  # fmt: skip
        sys.stderr.write(f"gpu_run: {error}\n")
        return 2
    return 0


def _pack(chosen: argparse.Namespace, rest: Sequence[str], began: float) -> None:
    from gpu_pack import PackConfig, name_of, write_pack

    from echoapex.data.stores.dataset_store import DatasetStoreConfig

    store = DatasetStoreConfig(frames=chosen.frames, labelled=min(chosen.labelled, chosen.frames), size=chosen.size)
    config = PackConfig(store, chosen.held_back, chosen.most_mib)
    write_pack(
        dict(map(name_of, chosen.folders)), config, chosen.out, lambda text: sys.stderr.write(f"{text}\n") and None
    )


def _join(chosen: argparse.Namespace, rest: Sequence[str], began: float) -> None:
    from gpu_parts import bundles_below, join_parts

    from echoapex.models.bundle import verify_bundle

    left = join_parts(chosen.parts, chosen.out)
    for bundle in bundles_below(chosen.out):
        verify_bundle(bundle)
        sys.stdout.write(f"{bundle}: sound\n")
    sys.stdout.write(f"step {left.step} of {left.steps}\n")


def _run(chosen: argparse.Namespace, rest: Sequence[str], began: float) -> None:
    from gpu_parts import CALL_FILE, Limits, join_parts

    from echoapex.config import merge, parse_overrides

    place = chosen.out or os.environ.get("OUT")
    if not place:
        raise GpuRunError("where should the parts go? Give --out FOLDER, or set OUT")
    out, work = Path(place), chosen.work
    if (work / "run").exists():
        raise GpuRunError(f"{work / 'run'}: holds an earlier run; remove it, or give another --work")
    out.mkdir(parents=True, exist_ok=True)
    log, typed = Log(out / LOG_FILE), parse_overrides(rest)
    ends_s = began + 60 * chosen.minutes - chosen.reserve
    machine = (chosen.pack, chosen.device, work, chosen.workers, ends_s)
    try:
        if chosen.verb == "run":
            call = Call(chosen.recipe, typed, *machine)
        else:
            left = join_parts(chosen.parts, work / "run")
            asked = json.loads((work / "run" / CALL_FILE).read_bytes())
            if asked["pack"] and chosen.pack is None:
                raise GpuRunError("this run learned from a pack; give --pack again")
            since = asked["from_weights"] if left.exact else left.step
            if since is not None:
                shutil.rmtree(work / "start", ignore_errors=True)
                shutil.move(work / "run" / "bundles", work / "start")
            call = Call(asked["recipe"], merge(asked["overrides"], typed), *machine, since, left.exact)
        train(call, log, out, Limits(chosen.most_mib, chosen.part_mib, chosen.most_files))
    except Exception as error:
        log(f"stopped: {type(error).__name__}: {error}")
        raise


def _find_sources(chosen: argparse.Namespace) -> None:
    """Let this process and its workers import EchoApex from the source tree; beside a GPU a worker has one thread."""
    sys.path[:0] = [path for path in (str(SOURCES), str(Path(__file__).parent)) if path not in sys.path]
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(SOURCES) not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(SOURCES), *filter(None, known)])
    if getattr(chosen, "device", "cpu").startswith("cuda"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    pack = verbs.add_parser("pack", help="prepare frames of patients in one small file")
    pack.add_argument("folders", nargs="+", help="FOLDER or NAME=FOLDER: CAMUS, or a folder with clips.csv")
    pack.add_argument("--out", type=Path, required=True)
    pack.add_argument("--size", type=int, default=192, help="side of a frame in pixels")
    pack.add_argument("--frames", type=int, default=8, help="of each clip of a folder")
    pack.add_argument("--labelled", type=int, default=4, help="label maps of each clip of a folder, at most")
    pack.add_argument("--held-back", type=int, default=40, help="training patients of CAMUS who judge")
    pack.add_argument("--most-mib", type=float, default=40)
    join = verbs.add_parser("join", help="put the bundles together and check every digest")
    join.add_argument("parts", type=Path)
    join.add_argument("--out", type=Path, required=True)
    for verb in (
        verbs.add_parser("run", help="train", allow_abbrev=False),
        verbs.add_parser("resume", help="go on", allow_abbrev=False),
    ):
        if verb.prog.endswith("run"):
            verb.add_argument("recipe", help="name of a recipe, or a .yaml file")
        else:
            verb.add_argument("parts", type=Path)
        verb.add_argument("--pack", type=Path, help="frames of patients")
        verb.add_argument("--out", type=Path, help="folder for the parts; by default what OUT names")
        verb.add_argument("--minutes", type=float, default=8.5, help="for everything")
        verb.add_argument("--reserve", type=float, default=75, help="seconds for the last validation and the parts")
        verb.add_argument("--device", default="cuda")
        verb.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
        verb.add_argument("--work", type=Path, default=Path("gpu-work"), help="folder for prepared clips and the run")
        verb.add_argument("--most-mib", type=float, default=64, help="that may come back")
        verb.add_argument("--part-mib", type=float, default=16, help="of one file")
        verb.add_argument("--most-files", type=int, default=8)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
