"""What was done, for whom and at what cost: the row that a request leaves. Who keeps the rows is not said here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, get_args

from crossette.errors import InvalidRequest
from crossette.timespec import parse_past
from crossette.types import Usage

NOTHING = Usage(0, 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One request that has ended, however it ended."""

    id: str
    """Ours, and never the same twice: the id of the answer."""
    request_id: str
    """What the log and the client know it by; a client may send the same one again."""
    time: datetime
    """When it came, with its time zone."""
    key_id: str
    """`Caller.id`; empty for nobody's."""
    dialect: str
    endpoint: str
    """The path without the dialect's prefix."""
    model: str
    """The model that it was for; what was asked for where none has such a name."""
    status: int
    """Of the answer; 499 if the client hung up, 0 if the server ended before it answered."""
    total_s: float
    first_token_s: float | None = None
    finish_reason: str | None = None
    """Those of its choices, each once; `error` for a stream that broke."""
    usage: Usage = NOTHING
    client: str = ""
    user: str = ""
    metadata: Mapping[str, str] | None = None
    request_content: str | None = None
    """The body as it came; only where the ledger keeps content."""
    answer_content: str | None = None
    is_served: bool = True
    """Whether `model` names one that is served, and not what a client made up: sums have no names of that kind."""


GroupBy = Literal["key", "model", "day"]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
DEFAULT_GROUPS: tuple[GroupBy, ...] = ("key", "model")


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which rows are added up, and by what."""

    group_by: tuple[GroupBy, ...]
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one group used; the names of groups that were not asked for are null."""

    key: str | None
    """The id of the key; empty for requests without one."""
    key_name: str | None
    model: str | None
    """Empty for requests that were for no model that is served."""
    day: str | None
    """In UTC: 2026-11-23."""
    requests: int
    errors: int
    """Requests among them that were answered with an error, or not to the end."""
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: float | None
    """In the unit of the configured prices, to twelve digits; null where there are none."""

    def __post_init__(self) -> None:
        if self.cost is not None:  # a sum of binary fractions, whose last digits say nothing
            object.__setattr__(self, "cost", float(f"{self.cost:.12g}"))


@dataclass(frozen=True, slots=True)
class LedgerStats:
    """How the ledger fares. Counts are since the server's start."""

    written: int = 0
    waiting: int = 0
    """Rows that are not yet in the database."""
    lost: int = 0
    """Rows that never will be."""
    lag_s: float = 0.0
    """How long the oldest of those that wait has waited."""


class Ledger(Protocol):
    """Keeps entries, and adds them up."""

    @property
    def keeps_content(self) -> bool:
        """Whether entries are to bring their content."""

    def note(self, entry: Entry) -> None:
        """Take an entry. A plain call that never waits and never fails."""

    def used_tokens(self, key_id: str) -> int:
        """Prompt and completion tokens of a key so far, over all its life. Known in memory."""

    def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        """Add rows up. Waits for the database: for a thread, not for the event loop. Raises StoreError."""

    def stats(self) -> LedgerStats: ...


class NoLedger:
    """Keeps nothing: for an API that is served without a store."""

    keeps_content = False

    def note(self, entry: Entry) -> None:
        return

    def used_tokens(self, key_id: str) -> int:
        return 0

    def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        return ()

    def stats(self) -> LedgerStats:
        return LedgerStats()


# --- as people write it ---

GROUP_BY_PATTERN = "^(key|model|day)(,(key|model|day))*$"


def parse_query(
    group_by: str | None, since: str | None, now: datetime, names: tuple[str, str] = ("group_by", "since")
) -> UsageQuery:
    """`key,day`, and a time as `timespec.py` reads it. Raises InvalidRequest, with the parameter at fault.

    `names` are what whoever asks calls the two.
    """
    groups = DEFAULT_GROUPS if group_by is None else _groups(group_by, names[0])
    try:
        return UsageQuery(groups, None if since is None else parse_past(since, now))
    except ValueError as error:
        raise InvalidRequest(f"{names[1]}: {error}", param=names[1]) from None


def _groups(text: str, name: str) -> tuple[GroupBy, ...]:
    named = text.split(",")
    groups = tuple(group for group in GROUPS if group in named)
    if set(named) != set(groups):
        raise InvalidRequest(f"{name} is a list of key, model and day, not {text!r}.", param=name)
    return groups
