"""Keep daily totals per served model, and one total for all unknown model names.

Old rows do not record whether a model was served: a model without any tokens counts as unknown.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"

_COUNTS = ("requests", "errors", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
_UNKNOWN_MODEL = "model IN (SELECT model FROM days GROUP BY model HAVING sum(prompt_tokens + completion_tokens) = 0)"


def upgrade() -> None:
    op.add_column("requests", sa.Column("is_served", sa.Boolean, nullable=False, server_default=sa.true()))
    op.execute(f"UPDATE requests SET is_served = false WHERE {_UNKNOWN_MODEL}")
    op.execute(
        f"""
        INSERT INTO days (day, key_id, model, {", ".join(_COUNTS)})
        SELECT day, key_id, '', {", ".join(f"sum({name})" for name in _COUNTS)}
        FROM days WHERE model <> '' AND {_UNKNOWN_MODEL} GROUP BY day, key_id
        ON CONFLICT (day, key_id, model) DO UPDATE SET
            requests = days.requests + excluded.requests, errors = days.errors + excluded.errors
        """
    )
    op.execute(f"DELETE FROM days WHERE model <> '' AND {_UNKNOWN_MODEL}")
