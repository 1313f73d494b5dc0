"""One list of goals: the card is held against it, the docs show it, and fewer views than 18 meet no goal of 18."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from card_parts import make_part

from echoapex.evaluate.card.build import CardContent, build_card
from echoapex.evaluate.card.page import draw_figures, write_page
from echoapex.evaluate.card.rows import build_overall
from echoapex.evaluate.card.targets import GOALS, Asked, goal_of, goal_rows, views_goal
from echoapex.evaluate.metrics_file import Score
from echoapex.vocabulary import Application, View

DOCS = Path(__file__).resolve().parents[3] / "docs"
VIEWS = Asked("phantom", "", "views", "balanced accuracy")
PAPER = "0.976"


def goals_of(metric: str, dataset: str) -> set[float]:
    return {value for asked, value in GOALS.items() if asked.dataset == dataset and asked.metric.startswith(metric)}


def test_docs_show_the_list_of_the_code_and_no_other() -> None:
    page = (DOCS / "reference" / "benchmark.md").read_text(encoding="utf-8")
    table = page.split("| data set | subject | metric | goal |\n|---|---|---|---|\n")[1].split("\n\n")[0]
    shown = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.splitlines()]
    assert shown == goal_rows()


def test_goals_beside_measured_figures_are_of_the_list() -> None:
    page = (DOCS / "reference" / "measured.md").read_text(encoding="utf-8")
    column, found, dataset = -1, 0, "phantom"
    for line in page.splitlines():
        if line.startswith("## CAMUS") or ("CAMUS" in line and line.startswith("#")):
            dataset = "camus"
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            column = -1
        elif "goal" in cells:
            column = cells.index("goal")
            dataset = "camus" if "4CH" in line else "phantom"
        elif column >= 0 and column < len(cells) and re.fullmatch(r"[\d.]+", cells[column]):
            known = goals_of("", dataset)
            assert float(cells[column]) in known, f"{cells[0]}: a goal of {cells[column]} is not in the list"
            found += 1
    assert found >= 13


def test_the_papers_figure_is_no_goal() -> None:
    assert float(PAPER) not in GOALS.values()


def test_a_goal_for_18_views_is_not_met_by_two(tmp_path: Path) -> None:
    perfect = Score(value=1.0, n=8)
    assert views_goal(VIEWS, perfect, 2) is None
    assert views_goal(VIEWS, perfect, 17) is None
    met = views_goal(VIEWS, perfect, 18)
    assert met is not None
    assert met.met
    (views,) = build_overall([make_part(tmp_path / "two", "phantom")])[Application.VIEW_CLASSIFICATION]
    assert (views.score.value, views.goal, views.notes) == (1.0, None, ("its goal is for 18 views",))
    every = build_overall([make_part(tmp_path / "all", "phantom", shown=tuple(View), studies=1)])
    whole = every[Application.VIEW_CLASSIFICATION][0]
    assert whole.goal is not None
    assert whole.goal.met
    assert whole.notes == ()


@pytest.mark.parametrize(("value", "met"), [(3.4, True), (3.5, True), (3.6, False)])
def test_an_error_meets_its_goal_from_below(value: float, met: bool) -> None:
    goal = goal_of(Asked("phantom", "held_out", "lvef", "MAE"), Score(value=value, n=9), higher_is_better=False)
    assert goal is not None
    assert goal.met is met


def test_simulated_patients_are_called_so_wherever_a_figure_of_theirs_stands(tmp_path: Path) -> None:
    mass = [("M", 100.0), ("F", 100.0), ("M", 120.0), ("M", 130.0)]
    drawn, real = make_part(tmp_path / "a", "phantom", mass=mass), make_part(tmp_path / "b", "camus", "val")
    for parts, others in (((drawn,), 0), ((drawn, real), 1)):
        card = build_card(CardContent("set", parts))
        page = write_page(card, draw_figures(card, tmp_path))
        bare = re.findall(r"phantom(?! \(simulated)(?!/encoder)", page.split("</style>")[1])
        assert len(bare) == 1, "its name, in the table of what was scored, has the words below it"
        assert page.count("simulated patients</span>") == 1
        tiles = page.split('<dl class="tiles">')[1].split("</dl>")[0]
        assert tiles.count("simulated") == (6 if not others else 5)
        assert ("on simulated patients alone" in tiles) is not bool(others)
        assert "camus (simulated" not in page
        assert card.parts[0].simulated


def test_a_small_matrix_stays_small(tmp_path: Path) -> None:
    for shown, widest in (((View.A4C, View.PLAX), 260), (tuple(View), 900)):
        card = build_card(CardContent("set", [make_part(tmp_path / str(len(shown)), shown=shown, studies=1)]))
        figure = next(each for each in draw_figures(card, tmp_path) if each.name.startswith("confusion"))
        limit = re.search(r"max-width:(\d+)px", figure.svg)
        assert limit is not None
        assert int(limit.group(1)) < widest
