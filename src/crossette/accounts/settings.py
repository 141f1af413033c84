"""Settings of keys, the ledger and files."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.settings import Count, Days, Panel, Share, setting


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """Where keys, usage and files are stored, and what is recorded of a request."""

    database_url: str | None = setting(
        None,
        "Store keys, usage and files in this database: postgresql://… or sqlite:///FILE.",
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
    batch_price: Share = setting(0.5, "The part of these prices that a request of a batch costs: 1 for all of it.")


@dataclass(frozen=True, slots=True)
class FileSettings:
    """Whether files and batches are stored, and how much of them."""

    store_files: str | None = setting(
        None,
        "Keep the files that clients upload, and the answers of their batches, in the database for at most this long:"
        " 7d, 24h. Required by /files and /batches.",
        metavar="DURATION",
        unset="nothing is kept, and /files and /batches are refused",
    )
    max_file_bytes: Count = setting(
        200 * 2**20, "Reject an uploaded file with 413 if it has more bytes.", unset="200 MiB"
    )
    max_stored_bytes: Count = setting(
        2 * 2**30,
        "Reject uploads and new batches with 413 while the files of all keys together have more bytes.",
        unset="2 GiB",
    )
