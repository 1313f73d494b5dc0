"""Reading an evaluation back: what is damaged or must not be scored is refused in words."""

import json
from pathlib import Path

import pytest
from card_parts import write_scores

from echoapex.evaluate.card.rows import read_scored_part
from echoapex.evaluate.card.targets import CardError
from echoapex.vocabulary import Quantity


def test_an_evaluation_is_read_back(tmp_path: Path) -> None:
    part = read_scored_part("mine", write_scores(tmp_path, values={Quantity.LVEF: 40.0}))
    assert (part.name, part.described.studies, part.described.clips) == ("mine", 4, 8)
    assert len(part.masks) == 4 * 2 * 2 * 2
    assert [(pair.truth, pair.measured) for pair in part.values] == [(30, 40), (35, 40), (40, 40), (45, 40)]
    assert part.described.bundles == {"phantom/encoder": "ab" * 32}


def test_metrics_of_the_version_before_are_read(tmp_path: Path) -> None:
    path = write_scores(tmp_path) / "metrics.json"
    old = json.loads(path.read_text())
    old["metrics_version"] = "1.1"
    del old["views"]["reliability"]
    path.write_text(json.dumps(old))
    assert read_scored_part("old", tmp_path).metrics.views.reliability == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.json", None, "metrics.json: cannot be read"),
        ("metrics.json", "{}", "metrics.json: echoapex_version is not valid"),
        ("metrics.json", "nonsense", "the file is not valid"),
        ("cases.csv", None, "cases.csv: cannot be read"),
        ("cases.csv", "a,b\n1,2\n", "is not a table of cases"),
        ("cases.csv", "patient,clip,frame,subject,truth,predicted,dice\np,c,1,spleen,mask,mask,0.5\n", "'spleen'"),
    ],
)
def test_damage_is_named(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    path = write_scores(tmp_path) / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(CardError, match=message):
        read_scored_part("damaged", tmp_path)


def test_phantoms_for_training_are_refused(tmp_path: Path) -> None:
    write_scores(tmp_path, "phantom", held_out=False)  # the patients are called patient-0 and so on
    with pytest.raises(CardError, match=r"phantom patients for training \(seed 0\)"):
        read_scored_part("phantom", tmp_path)
