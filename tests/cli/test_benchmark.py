"""``echoapex benchmark``: from phantoms and tiny random weights to a card; finished parts are not run again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from reference_studies import write_camus_archive
from tiny_camus_folder import write_tiny_camus_folder
from tiny_clip_folder import write_tiny_clip_folder
from tiny_tasks import build_tasks, save_set

from echoapex.cli import benchmark_parts, run
from echoapex.cli.benchmark_parts import PhantomPlan, digest_of_folder
from echoapex.cli.console import ExitCode
from echoapex.evaluate.card.card_file import BenchmarkCard
from echoapex.phantom.study import StudyPlan, write_study
from echoapex.phantom.truth import FIRST_HELD_OUT_SEED
from echoapex.vocabulary import View

VIEWS = (View.A4C, View.PLAX, View.PSAX_PM)


@dataclass(frozen=True)
class Made:
    """A card with everything it was made of."""

    out: Path
    studies: Path
    bundle: Path

    @property
    def arguments(self) -> list[str]:
        return ["--phantom", str(self.studies), "--bundle", str(self.bundle), "--device", "cpu", "--click-images", "1"]

    @property
    def card(self) -> BenchmarkCard:
        return read(self.out)


def read(out: Path) -> BenchmarkCard:
    return BenchmarkCard.model_validate_json((out / "card.json").read_bytes())


def benchmark(out: Path, *arguments: str) -> int:
    return run(["benchmark", "--out", str(out), "--quiet", *arguments])


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    """Intervals need not be precise here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("echoapex.evaluate.metrics_file.BOOTSTRAP_SAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("benchmark")
    for number in range(2):
        write_study(root / "studies" / str(number), FIRST_HELD_OUT_SEED + number, StudyPlan(VIEWS, 112))
    made = Made(root / "out", root / "studies", save_set(build_tasks(), root / "tiny"))
    assert benchmark(made.out, *made.arguments) == ExitCode.ALL_GOOD
    return made


def test_phantoms_become_a_card(made: Made) -> None:
    card = made.card
    assert (card.title, [part.name for part in card.parts]) == ("Set tiny", ["phantom"])
    assert (card.parts[0].split, card.parts[0].studies, card.parts[0].clips) == ("held_out", 2, 6)
    recalls = [row for row in card.subtasks if row.key.startswith("view_classification/") and row.measured]
    assert [row.key.partition("/")[2] for row in recalls] == [view.value for view in VIEWS]
    assert [row.measured[0].score.n for row in recalls] == [2, 2, 2]
    assert card.clicks[0].scores.images == 1
    page = (made.out / "card.html").read_text()
    assert "not a medical device" in page
    assert page.count('class="number"') == 28
    assert {path.name for path in (made.out / "plots").iterdir()} >= {"confusion-phantom.svg", "clicks-phantom.svg"}
    shown = {made.out / example.picture for example in card.examples}
    assert all(path.is_file() for path in shown)


def test_a_finished_part_is_not_run_again(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (made.out / "card.json").read_bytes()
    (made.out / "card.json").unlink()
    monkeypatch.setattr(benchmark_parts, "evaluate", lambda **_asked: pytest.fail("evaluated again"))
    monkeypatch.setattr("echoapex.cli.clicks.clicks", lambda **_asked: pytest.fail("clicked again"))
    assert benchmark(made.out, *made.arguments) == ExitCode.ALL_GOOD
    assert (made.out / "card.json").read_bytes() == before


def test_other_weights_or_files_are_another_question(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(benchmark_parts, "evaluate", lambda **what: asked.append(what) or ExitCode.NOTHING_ANALYSED)
    other = save_set(build_tasks(seed=1), tmp_path / "other")
    arguments = ["--phantom", str(made.studies), "--device", "cpu", "--click-images", "0"]
    assert benchmark(tmp_path / "out", *arguments, "--bundle", str(other)) == ExitCode.NOTHING_ANALYSED
    assert len(asked) == 1
    assert digest_of_folder(made.studies) != digest_of_folder(made.studies / "0")


def test_written_scores_are_taken_over(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_parts, "evaluate", lambda **_asked: pytest.fail("evaluated again"))
    few = tmp_path / "few" / "k5"
    few.mkdir(parents=True)
    (few / "recipe.json").write_text(json.dumps({"task": {"few_shot": {"clips": 5}}}))
    (few / "journal.jsonl").write_text(json.dumps({"step": 1, "scores": {"dice_lv_cavity": 0.5}}) + "\n")
    part = made.out / "parts" / "phantom"
    rows = [{"share": 1.0, "patients": 7, "score": 0.9, "low": 0.8, "high": 1.0}]
    (tmp_path / "probes.json").write_text(json.dumps({"random": {"views": rows}}))
    given = ("--scores", f"mine={part}", "--clicks", f"mine={part / 'clicks'}", "--few-shot", f"tiny={few.parent}")
    probes = ("--label-efficiency", str(tmp_path / "probes.json"))
    assert benchmark(tmp_path / "out", *given, *probes) == ExitCode.ALL_GOOD
    card = read(tmp_path / "out")
    assert [part.name for part in card.parts] == ["mine"]
    assert card.subtasks[0].measured[0].score == made.card.subtasks[0].measured[0].score
    assert card.label_curves[0].points[0].amount == 5
    assert [curve.kind for curve in card.label_curves] == ["finetune", "probe"]
    plots = {path.name for path in (tmp_path / "out" / "plots").iterdir()}
    assert plots >= {"labels-dice_lv_cavity.svg", "labels-probe-views.svg"}
    why = {each.what: each.reason for each in card.absent if each.part == "mine"}
    assert why["examples"] == "the files of the data set were not given"


def test_real_data_stand_beside_the_phantoms(made: Made, tmp_path: Path) -> None:
    root = tmp_path / "camus"
    root.mkdir()
    write_camus_archive(root)
    part = made.out / "parts" / "phantom"
    arguments = ("--scores", f"phantom={part}", "--data", f"camus={root}", "--bundle", str(made.bundle))
    assert benchmark(tmp_path / "out", *arguments, "--device", "cpu", "--click-images", "0") == ExitCode.ALL_GOOD
    card = read(tmp_path / "out")
    assert [(part.name, part.dataset) for part in card.parts] == [("phantom", "phantom"), ("camus", "camus")]
    cavity = next(row for row in card.subtasks if row.key == "segmentation/lv_cavity")
    assert [each.part for each in cavity.measured] == ["phantom", "camus"]
    assert [bool(each.published) for each in cavity.measured] == [False, True]


def test_one_data_set_in_two_forms_and_any_that_can_be_scored(made: Made, tmp_path: Path) -> None:
    write_tiny_camus_folder(tmp_path / "native")
    write_camus_archive(tmp_path)
    write_tiny_clip_folder(tmp_path / "clips")
    part = made.out / "parts" / "phantom"
    data = ("--data", f"camus={tmp_path}", "--data", f"native:camus={tmp_path / 'native'}")
    own = ("--data", f"folder={tmp_path / 'clips'}", "--split", "native=all", "--split", "folder=test")
    method = ("--bundle", str(made.bundle), "--device", "cpu", "--click-images", "0")
    assert benchmark(tmp_path / "out", "--scores", f"phantom={part}", *data, *own, *method) == ExitCode.ALL_GOOD
    card = read(tmp_path / "out")
    assert [(part.name, part.dataset, part.split, part.studies) for part in card.parts] == [
        ("phantom", "phantom", "held_out", 2),
        ("camus", "camus", "val", 1),
        ("native", "camus", "all", 3),
        ("folder", "folder", "test", 1),
    ]
    assert [bool(part.licence) for part in card.parts] == [False, True, True, False]
    cavity = next(row for row in card.subtasks if row.key == "segmentation/lv_cavity")
    notes = {each.part: each.notes for each in cavity.measured}
    assert notes["camus"] == ("distances in mm not measured: the pixel size is not known",)
    assert all("not known" not in note for note in notes["native"])


def test_phantoms_are_drawn_with_held_out_seeds(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("echoapex.cli.phantom.phantom", lambda **what: asked.append(what) or ExitCode.ALL_GOOD)
    assert PhantomPlan(None, 3, FIRST_HELD_OUT_SEED + 1, 112).draw(tmp_path, quiet=True) is ExitCode.ALL_GOOD
    assert (asked[0]["studies"], asked[0]["seed"], asked[0]["content"].size) == (3, FIRST_HELD_OUT_SEED + 1, 112)
    assert benchmark(tmp_path, "--bundle", str(made.bundle)) == ExitCode.USAGE, "nothing was drawn, so nothing is there"
    assert (len(asked), asked[1]["out"]) == (2, tmp_path / "phantom")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--data", "chestxray={here}"),
            "'chestxray' is not a data set that can be scored; known: camus, echonet_dynamic",
        ),
        (("--data", "mine:chestxray={here}"), "'chestxray' is not a data set that can be scored"),
        (("--data", "phantom:camus={here}"), "phantom is what the simulated patients are called"),
        (("--data", "phantom={here}"), "simulated patients go in by --phantom"),
        (("--data", "camus={here}", "--split", "other=val"), "--split other=...: no --data has that name"),
        (("--data", "camus={here}", "--split", "val"), "write NAME=SPLIT"),
        (("--label-efficiency", "{here}/none.json"), "none.json: cannot be read"),
        (("--data", "camus"), "write NAME=DIR"),
        (("--data", "camus={here}/none"), "is not a folder"),
        (("--scores", "a={here}", "--scores", "a={here}"), "is given twice"),
        (("--scores", "../a={here}"), "the name of letters"),
        (("--scores", "mine={here}"), "metrics.json: cannot be read"),
        (("--clicks", "phantom={here}"), "clicks.json: cannot be read"),
        (("--few-shot", "mine={here}"), "holds no finished run"),
        (("--bundle", "nonesuch"), "nonesuch"),
        (("--seed", "7"), "1000000"),
        (("--suite", "echoapex27"), "echoapex27"),
        (("--phantom", "{here}"), "holds no held_out study"),
    ],
)
def test_mistakes_are_one_line(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    typed = [each.format(here=tmp_path) for each in arguments]
    given = [] if "--phantom" in typed else ["--phantom", str(made.studies)]
    assert benchmark(tmp_path / "out", *given, *typed) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "card.html").exists()


def test_patients_for_training_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path / "studies" / "0", 3, StudyPlan((View.A4C,), 112))
    assert benchmark(tmp_path / "out", "--phantom", str(tmp_path / "studies")) == ExitCode.USAGE
    assert "holds no held_out study" in capsys.readouterr().err


def test_clicks_of_an_unknown_part_are_refused(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = made.out / "parts" / "phantom"
    given = ("--scores", f"mine={part}", "--clicks", f"other={part / 'clicks'}")
    assert benchmark(tmp_path / "out", *given) == ExitCode.USAGE
    assert "--clicks other=...: there is no such part; name one of mine" in capsys.readouterr().err
