"""The tables are made by migrations, once; a wrong address is one line without the password."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from echoapex.serve.database import SETTINGS, TABLES, Database, DatabaseError


def test_the_tables_are_those_that_the_code_uses(database_url: str) -> None:
    database = Database(database_url)
    database.migrate()
    database.migrate()
    found = sa.inspect(database.engine)
    for table in TABLES.sorted_tables:
        assert {column["name"] for column in found.get_columns(table.name)} == set(table.columns.keys()), table.name


def test_two_processes_may_start_at_once(database_url: str) -> None:
    script = "import sys; from echoapex.serve.database import Database; Database(sys.argv[1]).migrate()"
    started = [subprocess.Popen([sys.executable, "-c", script, database_url]) for _ in range(2)]
    assert [process.wait(60) for process in started] == [0, 0]
    with Database(database_url).read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(SETTINGS)).scalar() == 1


def test_a_new_file_that_another_process_writes_is_waited_for(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "new.db", check_same_thread=False, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # SQLite refuses the switch to WAL at once while this lock is held
    release = threading.Timer(0.3, other.rollback)
    release.start()
    with Database(f"sqlite:///{tmp_path / 'new.db'}").read() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
    release.join()
    other.close()


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    database.migrate()
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="another version"):
        database.migrate()


def test_the_password_is_not_shown() -> None:
    with pytest.raises(DatabaseError) as caught:
        Database("postgresql://user:hidden@127.0.0.1:1/none").migrate()
    assert "hidden" not in str(caught.value) and "127.0.0.1" in str(caught.value)


def test_other_databases_are_refused() -> None:
    with pytest.raises(DatabaseError, match="sqlite or postgresql"):
        Database("mysql+pymysql://host/name")
