"""Create the tables of keys and requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("previous_hash", sa.String),
        sa.Column("previous_until", sa.DateTime),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime),
        sa.Column("revoked_at", sa.DateTime),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("models", sa.JSON),
        sa.Column("limits", sa.JSON, nullable=False),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("time", sa.DateTime, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("dialect", sa.String, nullable=False),
        sa.Column("endpoint", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("finish_reason", sa.String),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("cached_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("reasoning_tokens", sa.Integer, nullable=False),
        sa.Column("first_token_s", sa.Float),
        sa.Column("total_s", sa.Float, nullable=False),
        sa.Column("cost", sa.Float),
        sa.Column("client", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("metadata", sa.JSON),
        sa.Column("request_content", sa.Text),
        sa.Column("answer_content", sa.Text),
    )
    op.create_index("requests_time", "requests", ["time"])
