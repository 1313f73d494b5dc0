"""A thousand studies are listed by indices, page by page, and every filter counts right."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from echoapex.serve.database import Database
from echoapex.serve.page.schemas import PageState, StudyRow
from echoapex.serve.page.security import PageError
from echoapex.serve.page.study_list import StudyFilter, StudyList

MANY = 1_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> StudyList:
    """A list of a thousand studies."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('many') / 'state.db'}")
    database.migrate()
    with database.begin() as connection:
        connection.execute(
            sa.text(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :many) "
                "INSERT INTO page_studies SELECT printf('%016x', i), 'Study ' || i, 'o' || i, '[]', '', '', 'ready', "
                "'', '', '', '', '', i, 1.0, (i * 7 % 1000) / 1000.0, 20 + i % 50, i, 3, 3, 0, 0 FROM n"
            ),
            {"many": MANY},
        )
        connection.execute(
            sa.text(
                "INSERT INTO page_tags SELECT 'view', CASE number % 4 WHEN 0 THEN 'A4C' ELSE 'PLAX' END, study, 2 "
                "FROM page_studies UNION "
                "SELECT 'flag', 'low_confidence', study, 1 FROM page_studies WHERE number % 10 = 0"
            )
        )
    return StudyList(database, lambda row: None)


def test_filters_sorts_and_pages_agree(many: StudyList) -> None:
    everything = StudyFilter()
    page = many.rows(everything, "received", 0, 100)
    assert page.total == MANY and len(page.studies) == 100
    assert [row.label for row in page.studies[:2]] == ["Study 1000", "Study 999"]
    assert many.rows(everything, "received", 950, 100).studies[-1].label == "Study 1"
    lowest = many.rows(everything, "ef", 0, 3).studies
    assert [row.ef_percent for row in lowest] == [20, 20, 20]
    assert many.rows(StudyFilter(view="A4C"), "name", 0, 1).total == MANY // 4
    both = many.rows(StudyFilter(view="A4C", flag="low_confidence"), "quality", 0, 100)
    assert both.total == MANY // 20
    assert all(row.views == {"A4C": 2} and row.flags == ["low_confidence"] for row in both.studies)
    assert many.rows(StudyFilter(query="study 77"), "name", 0, 100).total == 11
    assert many.rows(StudyFilter(query="_"), "name", 0, 100).total == 0
    assert many.rows(StudyFilter(state="queued"), "name", 0, 100).total == 0


@pytest.mark.parametrize("sort", ["received", "ef", "quality"])
def test_a_page_is_read_by_an_index(many: StudyList, sort: str) -> None:
    column = {"received": "received DESC", "ef": "ef_percent", "quality": "quality"}[sort]
    with many._database.read() as connection:
        plan = connection.execute(sa.text(f"EXPLAIN QUERY PLAN SELECT * FROM page_studies ORDER BY {column} LIMIT 100"))
        assert any("USING INDEX page_studies_" in row[-1] for row in plan)


def test_a_page_of_many_comes_quickly(many: StudyList) -> None:
    times = []
    for _ in range(20):
        begun = time.process_time()
        many.rows(StudyFilter(view="PLAX"), "ef", 100, 100)
        times.append(time.process_time() - begun)
    assert sorted(times)[10] < 0.1


def test_changes_are_told_and_what_there_is_not_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate()
    told: list[StudyRow] = []
    studies = StudyList(database, told.append)
    key = studies.add([tmp_path], origin="here")
    assert key and studies.add([tmp_path], origin="here") is None
    studies.update(key, state=PageState.ANALYSING)
    assert [row.state for row in told] == [PageState.QUEUED, PageState.ANALYSING]
    assert studies.next_queued() is None
    assert studies.requeue_interrupted() == 1 and studies.next_queued() == key
    for ask in (studies.row, studies.places, studies.note, studies.remove, studies.audit):
        with pytest.raises(PageError, match="no such study"):
            ask("0" * 16)
    studies.write_down(key, "anna", "renamed", change=("a", "b"))
    studies.remove(key)
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT what FROM page_audit")).scalars().all() == ["renamed"]
