"""The tables of the page: its studies, decisions of readers, steps to undo, the audit trail, and sessions.

``places`` holds the paths of a study's files, which may name a patient; it never leaves the server.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "page_studies",
        sa.Column("study", sa.String(16), primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("label", "origin", "places", "results", "part")),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("state", "ef_method", "lvh", "error", "note", "sealed")
        ),
        *(sa.Column(name, sa.Float) for name in ("received", "progress", "quality", "ef_percent")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("number", "clips", "clips_done", "revision")),
        sa.Column("reviewed", sa.Boolean, nullable=False),
        sa.UniqueConstraint("origin"),
    )
    for name in ("received", "label", "quality", "ef_percent", "state"):
        op.create_index(f"page_studies_{name}", "page_studies", [name])
    op.create_table(
        "page_tags",
        *(sa.Column(name, sa.String(64), primary_key=True) for name in ("kind", "name", "study")),
        sa.Column("count", sa.Integer, nullable=False),
    )
    op.create_index("page_tags_study", "page_tags", ["study"])
    op.create_table(
        "page_decisions",
        *(sa.Column(name, sa.String(128), primary_key=True) for name in ("study", "value_id")),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "page_calipers",
        *(sa.Column(name, sa.String(128), primary_key=True) for name in ("study", "clip", "caliper")),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "page_steps",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        *(sa.Column(name, sa.String(128), nullable=False) for name in ("study", "kind", "target", "what")),
        *(sa.Column(name, sa.LargeBinary, nullable=False) for name in ("before", "after")),
        sa.Column("undone", sa.Boolean, nullable=False),
    )
    op.create_index("page_steps_study", "page_steps", ["study", "undone"])
    op.create_table(
        "page_audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("time", sa.Float, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("study", "who", "what", "place", "before", "after")),
    )
    op.create_index("page_audit_study", "page_audit", ["study"])
    op.create_table(
        "page_sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        *(sa.Column(name, sa.String(128), nullable=False) for name in ("user", "role", "csrf")),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("begun", "seen")),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("sessions", "audit", "steps", "calipers", "decisions", "tags", "studies"):
        op.drop_table(f"page_{name}")
