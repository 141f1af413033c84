"""Add files and batches, and the batch of a request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"

_TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
_COUNTS = ("total", "completed", "failed")
_SUMS = ("output_bytes", "error_bytes", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


def upgrade() -> None:
    op.add_column("requests", sa.Column("batch_id", sa.String, nullable=False, server_default=""))
    op.create_table(
        "files",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("filename", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        sa.Column("is_complete", sa.Boolean, nullable=False),
    )
    op.create_index("files_owner", "files", ["key_id", "created_at"])
    op.create_table(
        "file_parts",
        sa.Column("file_id", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("endpoint", sa.String, nullable=False),
        sa.Column("input_file_id", sa.String, nullable=False),
        sa.Column("completion_window", sa.String, nullable=False),
        sa.Column("metadata", sa.JSON),
        sa.Column("output_keep_s", sa.Integer),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("errors", sa.JSON),
        sa.Column("model", sa.String),
        sa.Column("output_file_id", sa.String, nullable=False),
        sa.Column("error_file_id", sa.String, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in _COUNTS),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        *(sa.Column(f"{name}_at", sa.DateTime) for name in _TIMES),
        sa.Column("runner", sa.String),
        sa.Column("lease_until", sa.DateTime),
    )
    op.create_index("batches_owner", "batches", ["key_id", "created_at"])
    op.create_index("batches_status", "batches", ["status"])
