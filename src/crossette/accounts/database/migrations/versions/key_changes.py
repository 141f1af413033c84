"""Add a log of changes of keys, which triggers write, and an index of their names.

Triggers notice every change, also one by an earlier version or by hand.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"


def upgrade() -> None:
    is_postgres = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "key_changes",
        sa.Column("number", sa.BigInteger if is_postgres else sa.Integer, primary_key=True),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("token", sa.String, nullable=False),
    )
    op.create_index("keys_name", "keys", ["name"])
    token = "gen_random_uuid()" if is_postgres else "lower(hex(randomblob(16)))"
    op.execute(f"INSERT INTO key_changes (key_id, token) SELECT id, {token} FROM keys ORDER BY created_at, id")
    if is_postgres:
        op.execute(_POSTGRES_FUNCTION)
        op.execute(_POSTGRES_TRIGGER)
    else:
        op.execute(_SQLITE_INSERT)
        op.execute(_SQLITE_UPDATE)
        op.execute(_SQLITE_DELETE)


_POSTGRES_FUNCTION = """
CREATE FUNCTION crossette_key_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO key_changes (key_id, token) VALUES (coalesce(NEW.id, OLD.id), gen_random_uuid());
    RETURN NULL;
END $$
"""

_POSTGRES_TRIGGER = """
CREATE TRIGGER keys_changed AFTER INSERT OR UPDATE OR DELETE ON keys
FOR EACH ROW EXECUTE FUNCTION crossette_key_changed()
"""

_SQLITE_INSERT = """
CREATE TRIGGER keys_insert AFTER INSERT ON keys BEGIN
    INSERT INTO key_changes (key_id, token) VALUES (NEW.id, lower(hex(randomblob(16))));
END
"""

_SQLITE_UPDATE = """
CREATE TRIGGER keys_update AFTER UPDATE ON keys BEGIN
    INSERT INTO key_changes (key_id, token) VALUES (NEW.id, lower(hex(randomblob(16))));
END
"""

_SQLITE_DELETE = """
CREATE TRIGGER keys_delete AFTER DELETE ON keys BEGIN
    INSERT INTO key_changes (key_id, token) VALUES (OLD.id, lower(hex(randomblob(16))));
END
"""
