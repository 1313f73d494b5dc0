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
