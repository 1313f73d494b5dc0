"""The tables of the page, as the migration ``v0002_page`` makes them.

They lie in ``state.db``, which only its owner can read: paths of files may name a patient.
"""

from __future__ import annotations

import sqlalchemy as sa

from echoapex.serve.database import TABLES

PAGE_STUDIES = sa.Table(
    "page_studies",
    TABLES,
    sa.Column("study", sa.String, primary_key=True),
    *(sa.Column(name, sa.String) for name in ("label", "origin", "places", "results", "part")),
    *(sa.Column(name, sa.String) for name in ("state", "ef_method", "lvh", "error", "note", "sealed")),
    *(sa.Column(name, sa.Float) for name in ("received", "progress", "quality", "ef_percent")),
    *(sa.Column(name, sa.Integer) for name in ("number", "clips", "clips_done", "revision")),
    sa.Column("reviewed", sa.Boolean),
)
"""``origin`` is unique: where a study came from. ``places`` are its files, ``results`` the folder of an analysis that
was made before, ``part`` its study in that analysis, ``sealed`` the sign-off as JSON, ``revision`` counts changes."""

PAGE_TAGS = sa.Table(
    "page_tags",
    TABLES,
    *(sa.Column(name, sa.String, primary_key=True) for name in ("kind", "name", "study")),
    sa.Column("count", sa.Integer),
)
"""Views and flags of a study, for the filters of the list; ``kind`` is ``view`` or ``flag``."""

PAGE_DECISIONS = sa.Table(
    "page_decisions",
    TABLES,
    *(sa.Column(name, sa.String, primary_key=True) for name in ("study", "value_id")),
    sa.Column("content", sa.String),
)

PAGE_CALIPERS = sa.Table(
    "page_calipers",
    TABLES,
    *(sa.Column(name, sa.String, primary_key=True) for name in ("study", "clip", "caliper")),
    sa.Column("content", sa.String),
)

PAGE_STEPS = sa.Table(
    "page_steps",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    *(sa.Column(name, sa.String) for name in ("study", "kind", "target", "what")),
    *(sa.Column(name, sa.LargeBinary) for name in ("before", "after")),
    sa.Column("undone", sa.Boolean),
)
"""What can be undone: ``before`` and ``after`` are the whole state of the target."""

PAGE_AUDIT = sa.Table(
    "page_audit",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.Float),
    *(sa.Column(name, sa.String) for name in ("study", "who", "what", "place", "before", "after")),
)

PAGE_SESSIONS = sa.Table(
    "page_sessions",
    TABLES,
    sa.Column("digest", sa.String, primary_key=True),
    *(sa.Column(name, sa.String) for name in ("user", "role", "csrf")),
    *(sa.Column(name, sa.Float) for name in ("begun", "seen")),
)
