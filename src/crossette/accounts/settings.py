"""What can be set about keys and the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.settings import Days, setting


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where keys and usage are kept, and what of a request."""

    database_url: str | None = setting(
        None, "Where keys and usage are kept: postgresql://… or sqlite:///FILE, by default a file in the data folder."
    )
    log_content: bool = setting(
        False, "Keep request bodies and answers in the ledger, up to 1 MiB each. They may hold secrets."
    )
    ledger_days: Days | None = setting(
        None, "Days that rows of the ledger are kept; their sums by day stay. By default nothing is deleted."
    )
    price: tuple[str, ...] = setting(
        (), "MODEL=PROMPT/CACHED/COMPLETION: prices of a million tokens, for the ledger. Repeatable."
    )
