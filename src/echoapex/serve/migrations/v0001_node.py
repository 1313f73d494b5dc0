"""The first tables: studies, their instances, jobs, results, and the ledger of what was sent.

They hold UIDs, digests, counts and times. They never hold names, IDs or dates of patients.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "settings",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(128), nullable=False),
    )
    op.create_table(
        "studies",
        sa.Column("study_uid", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(32), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("first_received", sa.Float, nullable=False),
        sa.Column("last_received", sa.Float, nullable=False),
        sa.Column("finished", sa.Float),
    )
    op.create_table(
        "instances",
        sa.Column("study_uid", sa.String(64), sa.ForeignKey("studies.study_uid"), primary_key=True),
        sa.Column("sop_uid", sa.String(64), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("peer", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Float, nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("reason", sa.String(256), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("changed", sa.Float, nullable=False),
        sa.UniqueConstraint("kind", "study_uid", "peer", "digest"),
    )
    op.create_index("jobs_to_claim", "jobs", ["state", "kind", "not_before"])
    op.create_table(
        "results",
        sa.Column("sop_uid", sa.String(64), primary_key=True),
        sa.Column("sop_class", sa.String(64), nullable=False),
        sa.Column("series_uid", sa.String(64), nullable=False),
        sa.Column("study_uid", sa.String(64), sa.ForeignKey("studies.study_uid"), nullable=False, index=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("file", sa.String(128), nullable=False),
    )
    op.create_table(
        "sends",
        sa.Column("sop_uid", sa.String(64), sa.ForeignKey("results.sop_uid"), primary_key=True),
        sa.Column("peer", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("sent", sa.Float),
        sa.Column("asked", sa.Float),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("sends", "results", "jobs", "instances", "studies", "settings"):
        op.drop_table(name)
