"""Settings of keys and the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.settings import Days, Panel, setting


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """Where keys and usage are stored, and what is recorded of a request."""

    database_url: str | None = setting(
        None,
        "Store keys and usage in this database: postgresql://… or sqlite:///FILE.",
        metavar="URL",
        unset="a file in the data folder",
    )
    log_content: bool = setting(
        False,
        "Store request bodies and responses with the usage, up to 1 MiB each. They may contain secrets.",
        panel=Panel.LOGS,
    )
    ledger_days: Days | None = setting(
        None,
        "Delete the usage of single requests after this many days. Totals per day are kept.",
        unset="never",
    )
    price: tuple[str, ...] = setting(
        (),
        "Record what each request costs, by the prices of a million tokens: of the prompt, of its cached part, and of"
        " the completion. Repeatable.",
        metavar="MODEL=PROMPT/CACHED/COMPLETION",
        unset="no costs",
    )
