"""The database of the node: SQLite beside its data, or PostgreSQL by URL, brought to the newest tables at the start.

SQLite runs in WAL mode and waits for the disk at each commit, so that what was committed survives a power cut. Every
write transaction takes the lock at its beginning, so that two processes never claim the same job.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

TABLES = sa.MetaData()
SETTINGS = sa.Table("settings", TABLES, sa.Column("name", sa.String, primary_key=True), sa.Column("value", sa.String))
STUDIES = sa.Table(
    "studies",
    TABLES,
    sa.Column("study_uid", sa.String, primary_key=True),
    *(sa.Column(name, sa.String) for name in ("key", "state", "digest")),
    *(sa.Column(name, sa.Float) for name in ("first_received", "last_received", "finished")),
)
INSTANCES = sa.Table(
    "instances",
    TABLES,
    *(sa.Column(name, sa.String, primary_key=True) for name in ("study_uid", "sop_uid")),
    sa.Column("sha256", sa.String),
    sa.Column("bytes", sa.BigInteger),
)
JOBS = sa.Table(
    "jobs",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    *(sa.Column(name, sa.String) for name in ("kind", "study_uid", "peer", "digest", "state", "holder", "reason")),
    sa.Column("attempts", sa.Integer),
    *(sa.Column(name, sa.Float) for name in ("not_before", "lease_until", "created", "changed")),
)
RESULTS = sa.Table(
    "results",
    TABLES,
    sa.Column("sop_uid", sa.String, primary_key=True),
    *(sa.Column(name, sa.String) for name in ("sop_class", "series_uid", "study_uid", "digest", "file")),
)
SENDS = sa.Table(
    "sends",
    TABLES,
    *(sa.Column(name, sa.String, primary_key=True) for name in ("sop_uid", "peer")),
    *(sa.Column(name, sa.String) for name in ("state", "transaction_uid")),
    *(sa.Column(name, sa.Float) for name in ("sent", "asked")),
)
WORKITEMS = sa.Table(
    "workitems",
    TABLES,
    sa.Column("uid", sa.String, primary_key=True),
    *(sa.Column(name, sa.String) for name in ("study_uid", "transaction_uid", "state", "reason")),
    *(sa.Column(name, sa.Float) for name in ("found", "claimed", "told")),
)
_WAIT_S = 30
_MIGRATION_LOCK = 7_318_046
"""Number of the advisory lock that lets one process at a time change the tables in PostgreSQL."""

DATABASE_ERRORS = (sa.exc.SQLAlchemyError, OSError)
"""What a lost, locked or full database raises."""


class DatabaseError(ValueError):
    """A database that cannot be used; the message says what to change, without the password of the URL."""


class Database:
    """Transactions on the tables of the node.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/NAME``.
    """

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url.replace("postgresql://", "postgresql+pg8000://", 1))
        if self.url.get_backend_name() not in ("sqlite", "postgresql"):
            raise DatabaseError(f"{self.url.drivername}: is not supported; use sqlite or postgresql")
        options: dict[str, Any] = {"pool_pre_ping": True}
        if self.is_sqlite:
            options["connect_args"] = {"timeout": _WAIT_S}
        self.engine = sa.create_engine(self.url, **options)
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file of this machine."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction that writes: all of it happens, or nothing."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that only reads, and never waits for those that write."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection

    def insert_new(self, connection: sa.Connection, table: sa.Table, **values: Any) -> bool:
        """Insert a row unless its key is taken; returns whether it was inserted."""
        dialect: Any
        if self.is_sqlite:
            from sqlalchemy.dialects import sqlite as dialect
        else:
            from sqlalchemy.dialects import postgresql as dialect
        statement = dialect.insert(table).values(**values).on_conflict_do_nothing()
        return bool(connection.execute(statement).rowcount == 1)

    def migrate(self) -> None:
        """Bring the tables to the newest version.

        Raises:
            DatabaseError: the database cannot be reached, or was made by a newer version.
        """
        from alembic.config import Config as AlembicConfig  # slow to load, and needed once
        from alembic.runtime.environment import EnvironmentContext
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError

        settings = AlembicConfig()
        folder = str(Path(__file__).parent / "migrations")
        settings.set_main_option("script_location", folder)
        settings.set_main_option("version_locations", folder)
        settings.set_main_option("path_separator", "newline")
        scripts = ScriptDirectory.from_config(settings)

        def upgrade(revision: Any, _: Any) -> Any:
            return scripts._upgrade_revs("head", revision)

        try:
            with self.begin() as connection, EnvironmentContext(settings, scripts, fn=upgrade) as environment:
                if not self.is_sqlite:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                environment.configure(connection=connection, target_metadata=TABLES, transactional_ddl=False)
                environment.run_migrations()
                secret = secrets.token_hex(32)
                self.insert_new(connection, SETTINGS, name="secret", value=secret)
        except DATABASE_ERRORS as error:
            raise DatabaseError(f"{self.place}: cannot be used ({type(error).__name__}); check the address") from None
        except CommandError as error:
            raise DatabaseError(f"{self.place}: was made by another version ({error}); use that version") from None

    @property
    def place(self) -> str:
        """Where the database is, without a password."""
        return self.url.render_as_string(hide_password=True)

    def secret(self) -> bytes:
        """The key of the pseudonyms in logs and folder names; made once for each database."""
        with self.read() as connection:
            value = connection.execute(sa.select(SETTINGS.c.value).where(SETTINGS.c.name == "secret")).scalar_one()
        return bytes.fromhex(value)


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins transactions, not the driver
    for pragma in (f"busy_timeout={_WAIT_S * 1000}", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    _enter_wal(connection)


def _enter_wal(connection: Any) -> None:
    """Switch a database to WAL mode; SQLite does not wait by itself when two processes switch a new one at once."""
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
