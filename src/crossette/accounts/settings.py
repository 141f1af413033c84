"""Settings of keys and the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.settings import Days, setting


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """Where keys and usage are stored, and what is recorded of a request."""

    database_url: str | None = setting(
        None, "Database of keys and usage: postgresql://… or sqlite:///FILE. By default a file in the data folder."
    )
    log_content: bool = setting(
        False, "Store request bodies and responses in the ledger, up to 1 MiB each. They may contain secrets."
    )
    ledger_days: Days | None = setting(
        None, "Days to keep ledger rows; daily totals are kept forever. By default no rows are deleted."
    )
    price: tuple[str, ...] = setting(
        (), "MODEL=PROMPT/CACHED/COMPLETION: prices per million tokens, for the ledger. Repeatable."
    )
