"""The table of workitems that this node took from a worklist. It holds UIDs and times, and no names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "workitems",
        sa.Column("uid", sa.String(64), primary_key=True),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("reason", sa.String(256), nullable=False),
        sa.Column("found", sa.Float, nullable=False),
        sa.Column("claimed", sa.Float),
        sa.Column("told", sa.Float),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("workitems")
