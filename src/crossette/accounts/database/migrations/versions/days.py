"""Add the table of daily totals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"

_SUMS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


def upgrade() -> None:
    op.create_table(
        "days",
        sa.Column("day", sa.String, primary_key=True),
        sa.Column("key_id", sa.String, primary_key=True),
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
        sa.Column("cost", sa.Float),
    )
    day = "to_char(time, 'YYYY-MM-DD')" if op.get_bind().dialect.name == "postgresql" else "date(time)"
    op.execute(
        f"""
        INSERT INTO days (day, key_id, model, requests, errors, {", ".join(_SUMS)}, cost)
        SELECT {day}, key_id, model, count(*),
            sum(CASE WHEN status < 200 OR status >= 400 OR coalesce(finish_reason, '') = 'error' THEN 1 ELSE 0 END),
            {", ".join(f"sum({name})" for name in _SUMS)}, sum(cost)
        FROM requests GROUP BY {day}, key_id, model
        """
    )
