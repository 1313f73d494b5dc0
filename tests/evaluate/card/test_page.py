"""The page holds everything it shows, names all 28, and says what was not measured and what it is not."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from card_parts import make_part

from echoapex.evaluate.card.build import CardContent, build_card
from echoapex.evaluate.card.card_file import BenchmarkCard
from echoapex.evaluate.card.page import draw_figures, write_page
from echoapex.vocabulary import SUBTASKS, View


class Reader(HTMLParser):
    """Collects tags, addresses and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes something else"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(card: BenchmarkCard, folder: Path) -> Reader:
    reader = Reader()
    reader.feed(write_page(card, draw_figures(card, folder)))
    assert not reader.open, "every tag is closed"
    return reader


@pytest.fixture()
def card(tmp_path: Path) -> BenchmarkCard:
    parts = [make_part(tmp_path / "a", "test", views={View.PLAX: None}), make_part(tmp_path / "b", "camus", "val")]
    return build_card(CardContent("<b>Set</b> & co", parts))


def test_the_page_needs_nothing_else(card: BenchmarkCard, tmp_path: Path) -> None:
    page = read(card, tmp_path)
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    assert all(address.startswith("data:") for address in page.addresses)
    text = write_page(card, draw_figures(card, tmp_path))
    assert not re.findall(r"url\(|@import", text)


def test_it_names_all_sub_tasks_and_what_it_is_not(card: BenchmarkCard, tmp_path: Path) -> None:
    text = " ".join(read(card, tmp_path).text)
    for subtask in SUBTASKS:
        assert subtask.subject.display_name in text
    assert "not a medical device" in text
    assert "no clip of this view in the data" in text
    assert "SAM, fine-tuned" in text
    assert "4 missing" in text, "of the views together, one clip of each patient has no view"
    assert "+4 missing" not in text, "those count in n, as wrong"
    assert "<b>Set</b> & co" in text, "names are text, not markup"


def test_what_there_is_nothing_to_show_of_is_listed(card: BenchmarkCard) -> None:
    absent = {(each.what, each.part): each.reason for each in card.absent}
    assert absent["clicks", "test"] == "not asked for"
    assert "--few-shot" in absent["label efficiency", ""]
    assert ("confusion", "test") not in absent


def test_the_same_card_gives_the_same_page(card: BenchmarkCard, tmp_path: Path) -> None:
    again = BenchmarkCard.model_validate_json(card.model_dump_json())
    assert write_page(again, draw_figures(again, tmp_path)) == write_page(card, draw_figures(card, tmp_path))


def test_what_fell_short_is_said_first(card: BenchmarkCard, tmp_path: Path) -> None:
    text = write_page(card, draw_figures(card, tmp_path))
    told = re.search(r"<strong>Goals not met:</strong> ([^<]+)", text)
    assert told is not None
    assert "LV cavity on camus, Dice 0.900 (≥ 0.935)" in told.group(1)
    reached = build_card(CardContent("mine", [make_part(tmp_path / "c", "test")]))
    assert "Goals not met" not in write_page(reached, draw_figures(reached, tmp_path))


def test_tables_and_figures_are_numbered_and_the_terms_of_the_data_are_named(
    card: BenchmarkCard, tmp_path: Path
) -> None:
    text = write_page(card, draw_figures(card, tmp_path))
    tables = [int(number) for number in re.findall(r"<strong>Table (\d+)\.", text)]
    figures = [int(number) for number in re.findall(r"<strong>Figure (\d+)\.", text)]
    assert tables == list(range(1, len(tables) + 1)) and len(tables) == text.count("<table") - 1, "all but the last"
    assert figures == list(range(1, len(figures) + 1)) and figures
    assert "CC BY-NC-SA 4.0" in text
    assert "Leclerc" in text


def test_hypertrophy_and_transthoracic_views_have_a_place(tmp_path: Path) -> None:
    mass = [("M", 100.0), ("F", 100.0), ("M", 120.0), ("M", 130.0)]
    shown = (View.A4C, View.PLAX, View.TEE_4C)
    part = make_part(tmp_path / "a", "phantom", mass=mass, shown=shown)
    card = build_card(CardContent("mine", [part]))
    text = " ".join(read(card, tmp_path).text)
    assert "LV hypertrophy by mass index, 3 of 4 have it, AUROC" in text
    assert "The 2 transthoracic views alone, balanced accuracy" in text
    without = build_card(CardContent("mine", [make_part(tmp_path / "b")]))
    assert "no data set here has a true LV mass index" in " ".join(read(without, tmp_path).text)


def test_it_is_dark_on_white_on_a_phone_and_on_paper(card: BenchmarkCard, tmp_path: Path) -> None:
    text = write_page(card, draw_figures(card, tmp_path))
    assert "prefers-color-scheme" not in text
    assert re.search(r"@media screen and \(max-width: \d+px\)", text)
    assert "@media print" in text
    assert 'name="viewport" content="width=device-width' in text
