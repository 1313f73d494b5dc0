"""``echoapex finetune``: every shipped recipe runs in miniature to bundles that can be used; mistakes are one line."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from drawn_clips import draw_clip
from tiny_camus import write_tiny_camus
from tiny_clip_folder import outline_tiny_clip_folder, write_tiny_clip_folder
from tiny_corrections import WALLS, write_tiny_corrections
from tiny_recipes import RECIPE_FOLDER, RECIPES, StartingPoint, as_arguments, shrink

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.cli.recipe_run import Invocation
from echoapex.config import read_recipe
from echoapex.data.stores.place import StoreError
from echoapex.models import registry
from echoapex.models.bundle import verify_bundle
from echoapex.models.encoder import EncodedClip, encode_clip
from echoapex.tasks.trained_set import load_models
from echoapex.train.journal import read_journal
from echoapex.vocabulary import Application, Structure


def train(name: str, start: StartingPoint, out: Path, *more: str) -> int:
    return run(["finetune", name, *as_arguments(shrink(name, start)), *more, "--out", str(out)])


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def start(workspace: Path) -> StartingPoint:
    """A complete set, made as the shipped one is: the encoder with its frame decoders, then the ejection fraction."""
    write_tiny_corrections(workspace / "clips", wall_points=WALLS)
    outline_tiny_clip_folder(workspace / "clips", write_tiny_clip_folder(workspace / "clips"))
    start = StartingPoint(workspace / "shipped" / "phantom", write_tiny_camus(workspace / "camus"), workspace / "clips")
    for name in ("phantom_multitask", "phantom_ejection_fraction"):
        assert train(name, start, workspace / name) == ExitCode.ALL_GOOD
        shutil.copytree(workspace / name / "bundles", start.bundles, dirs_exist_ok=True)
    return start


@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_recipe_runs_to_bundles_that_answer(
    name: str,
    workspace: Path,
    start: StartingPoint,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(name, start, workspace / name) == ExitCode.ALL_GOOD
    told = capsys.readouterr()
    scores = dict(line.split("\t") for line in told.out.splitlines())
    assert scores
    assert f"weights: {workspace / name / 'bundles'}" in told.err
    assert re.search(r"^next:\n  echoapex ", told.err, re.MULTILINE)
    assert np.isfinite([float(value) for value in scores.values()]).all()
    journal = read_journal(workspace / name / "journal.jsonl")
    assert [entry["step"] for entry in journal if "loss" in entry] == [0, 1, 2]
    assert set(journal[0]["start_scores"]) == set(scores), "validated before the first step and after the last"
    bundles = workspace / name / "bundles"
    recipe = read_recipe(RECIPE_FOLDER / f"{name}.yaml")
    provenance = recipe["provenance"]
    written = {path.name for path in bundles.iterdir()}
    if recipe["task"]["kind"] == "pretrain":
        assert written == {"encoder"}
    else:
        assert len(written & {"encoder", *Application}) >= 2
    for bundle in bundles.iterdir():
        card = verify_bundle(bundle)
        # a recipe that writes one bundle anew copies the others, which have an earlier version
        if (card.name, card.version) == (provenance["name"], provenance.get("version", "0.1.0")):
            assert card.licence.split("; ")[0] == provenance.get("licence", "Apache-2.0")
            assert {key.removeprefix("validation/") for key in card.metrics} == set(scores)
    monkeypatch.setattr(registry, "_SHIPPED", start.bundles.parent)
    all_four_tasks_answer(bundles)


def all_four_tasks_answer(bundles: Path) -> None:
    """With what a set lacks from the default one."""
    models = load_models(bundles)

    def seen_for(application: Application) -> EncodedClip:
        model = models.encoders[application]
        pixels, _, _ = draw_clip(1, frames=3, size=model.input_size)
        return encode_clip(model.encoder, model.blocks, pixels, [0.0, 0.1, 0.2])

    view = models.view_classification.predict(seen_for(Application.VIEW_CLASSIFICATION))
    assert sum(view.probabilities.values()) == pytest.approx(1)
    (masks,) = models.segmentation.predict(seen_for(Application.SEGMENTATION), [1], tuple(Structure))
    assert masks[1].shape[0] == len(Structure)
    (walls,) = models.lv_wall.predict(seen_for(Application.LV_WALL), [1])
    assert np.isfinite(walls[1]).all()
    answer = models.ejection_fraction.predict(seen_for(Application.EJECTION_FRACTION))
    assert 0 <= answer.interval[0] <= answer.ef_percent <= answer.interval[1] <= 100


def test_a_finished_run_is_not_trained_again_and_another_recipe_is_refused(
    workspace: Path, start: StartingPoint, capsys: pytest.CaptureFixture[str]
) -> None:
    out = workspace / "phantom_ejection_fraction"
    capsys.readouterr()
    assert train("phantom_ejection_fraction", start, out) == ExitCode.ALL_GOOD
    told = capsys.readouterr().err
    assert "step " not in told
    assert "next:" in told
    assert train("phantom_ejection_fraction", start, out, "--train.seed", "5") == ExitCode.USAGE
    refused = capsys.readouterr()
    assert refused.out == ""
    assert refused.err.count("\n") == 1
    assert "was written by another recipe: train.seed was 0 and is now 5; use a new --out" in refused.err


def test_progress_is_told_unless_quiet(
    workspace: Path, start: StartingPoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(workspace / "stores", tmp_path / "stores")
    capsys.readouterr()
    assert train("phantom_ejection_fraction", start, tmp_path / "told", "--train.steps=1") == ExitCode.ALL_GOOD
    told = capsys.readouterr().err
    assert re.search("features in (bf16|fp32), ef-train: 2 of 2", told)
    assert re.search("precision (bf16|fp32): ", told)
    assert "step 0 of 1  loss" in told
    assert "Warning" not in told
    assert train("phantom_ejection_fraction", start, tmp_path / "quiet", "--train.steps=1", "--quiet") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["phantom_multitusk"], "'phantom_multitusk': no such recipe"),
        (["nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["phantom_multitask", "--train.stps", "3"], "train.stps: unknown key; did you mean 'steps'?"),
        (
            ["phantom_multitask", "--task.frames.batchsize=3"],
            "frames.batchsize: unknown key; did you mean 'batch_size'",
        ),
        (["phantom_multitask", "--train.precision=fp8"], "train.precision: Input should be 'auto', 'bf16' or 'fp32'"),
        (["phantom_multitask", "--train.steps=many"], "train.steps: Input should be a valid integer"),
        (["phantom_multitask", "--task.encoder.size=small"], "view.width is 192, the encoder's tokens have 384"),
        (["phantom_multitask", "--train.steps"], "--train.steps: has no value"),
        (["phantom_multitask", "--task.kind=miracle"], "task.kind must be one of"),
        (["phantom_ejection_fraction", "--task.encoder_bundle=nowhere"], "nowhere"),
        (["camus_segmentation", "--task.root=nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_draws_nothing(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["finetune", *arguments, "--out", str(tmp_path / "runs" / "run")]) == ExitCode.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("echoapex finetune: ")
    assert words in told.err
    assert told.err.count("\n") == 1
    assert not list(tmp_path.rglob("stores"))


def test_a_loss_that_is_no_number_is_one_line(
    workspace: Path, start: StartingPoint, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    wild = ("--train.optim.lr=1e30", "--train.optim.clip_norm=1e30", "--train.steps=9", "--quiet")
    assert train("phantom_ejection_fraction", start, workspace / "wild", *wild) == ExitCode.NOTHING_ANALYSED
    (line,) = capsys.readouterr().err.splitlines()
    assert "the loss is nan" in line
    assert "lower train.optim.lr" in line
    assert not (workspace / "wild" / "bundles").exists()


def camus_arguments(start: StartingPoint) -> list[str]:
    overrides = shrink("camus_segmentation", start)
    root = overrides["task"].pop("root")
    return ["finetune", "camus_segmentation", *as_arguments(overrides), "--dataset", "camus", "--root", root]


def test_a_few_clips_in_several_seeds_with_an_adapter(
    workspace: Path, start: StartingPoint, capsys: pytest.CaptureFixture[str]
) -> None:
    out = workspace / "few"
    typed = [*camus_arguments(start), "--setting", "lora,few-shot:2", "--seeds", "2", "--quiet", "--out", str(out)]
    assert run(typed) == ExitCode.ALL_GOOD
    printed = dict(line.split("\t")[:2] for line in capsys.readouterr().out.splitlines())
    seeds = json.loads((out / "seeds.json").read_text())
    assert set(printed) == set(seeds["summary"]) == set(seeds["seeds"][0])
    assert seeds["labels"] == {"few_shot": {"clips": 2, "percent": None}, "patients": None}
    for name, (mean, half_width) in seeds["summary"].items():
        assert mean == pytest.approx(np.mean([each[name] for each in seeds["seeds"]]), abs=1e-5)
        assert half_width >= 0
    effort = json.loads((out / "seed-1" / "effort.json").read_text())
    assert 0 < effort["adapter_share_of_encoder"] < 0.05
    assert effort["adapter_parameters"] < effort["trainable_parameters"] < effort["encoder_parameters"]
    assert effort["peak_memory_mib"] > 100
    recipes = [json.loads((out / f"seed-{seed}" / "recipe.json").read_text()) for seed in (0, 1)]
    assert [recipe["task"]["few_shot"] for recipe in recipes] == [
        {"clips": 2, "percent": None, "seed": 0}, {"clips": 2, "percent": None, "seed": 1},
    ]  # fmt: skip
    assert (out / "seed-0" / "bundles" / "segmentation" / "adapter" / "card.json").exists()
    assert not (out / "stores").exists(), "prepared data is shared with other runs"


@pytest.mark.parametrize(
    ("recipe", "more", "words"),
    [
        ("phantom_ejection_fraction", ["--setting", "lora"], "is decoded from a frozen encoder"),
        ("phantom_multitask", ["--dataset", "camus", "--root", "x"], "takes no root"),
        ("camus_segmentation", ["--dataset", "tmed2", "--root", "x"], "reads camus; give --dataset camus and --root"),
        ("dataset_ejection_fraction", ["--dataset", "tmed2", "--root", "x"], "reads echonet_dynamic or echonet_pedia"),
        ("dataset_ejection_fraction", ["--dataset", "echonet-dynamic", "--root", "x"], "holds no FileList.csv"),
        (
            "dataset_views",
            ["--dataset", "folder"],
            "reads folder or tmed2 or corrections; give --dataset folder and --root",
        ),
        ("camus_segmentation", ["--setting", "lorra"], "'lorra' is no setting"),
        ("camus_segmentation", ["--seeds", "0"], "give 1 or more"),
    ],
)
def test_what_a_recipe_has_no_place_for_is_refused(
    recipe: str, more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["finetune", recipe, *more, "--out", str(tmp_path / "out")]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("verb", [["finetune", "phantom_multitask"], ["pretrain", "pretrain_tiny_cpu"]])
def test_an_out_that_cannot_be_made_is_one_line(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run([*verb, "--out", str(tmp_path / "file" / "run")]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "Not a directory; check the paths" in error
    assert error.count("\n") == 1


def test_a_store_that_breaks_off_while_training_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise StoreError("frames: cannot be read to its end")

    monkeypatch.setattr("echoapex.cli.recipe_run.finetune", broken)
    assert run(["pretrain", "pretrain_tiny_cpu", "--out", str(tmp_path)]) == ExitCode.USAGE
    assert capsys.readouterr().err == "echoapex pretrain: frames: cannot be read to its end\n"


def test_a_seed_chooses_weights_clips_and_batches() -> None:
    typed = Invocation("finetune", "camus_segmentation", (), setting="lora,few-shot:4")
    assert typed.values(3)["task"]["frames"] == {"seed": 3}
    assert typed.values(3)["task"]["few_shot"] == {"clips": 4, "seed": 3}
    assert typed.values(3)["train"] == {"seed": 3}
    assert "frames" not in typed.values()["task"], "one run alone is the recipe's"
    features = Invocation("finetune", "phantom_ejection_fraction", ())
    assert features.values(3) == {"train": {"seed": 3}}, "it has no frames"
