"""How alembic runs the migrations: in the transaction of whoever asks."""

from __future__ import annotations

from alembic import context

from crossette.accounts.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
