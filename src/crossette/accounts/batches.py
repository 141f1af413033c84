"""Batches of requests: their records, and the protocol `BatchStore`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from crossette.accounts.files import Page, PageQuery
from crossette.accounts.ledger import NO_USAGE
from crossette.types import Usage

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
ACTIVE: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")
"""The states that a runner has work for."""
Ended = Literal["completed", "expired", "cancelled"]
"""How a batch ends that passed its validation, or was cancelled before."""


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a client asks for."""

    key_id: str
    endpoint: str
    """With the prefix of a dialect: /v1/chat/completions."""
    input_file_id: str
    completion_window: str
    expires_at: datetime
    metadata: Mapping[str, str] | None = None
    output_keep_s: int | None = None
    """How long its output files are kept; None for as long as any file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The record of a batch. Times have a time zone."""

    id: str
    key_id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: Mapping[str, str] | None
    output_keep_s: int | None
    status: Status
    errors: Sequence[Mapping[str, str | int | None]] | None
    """Why it failed."""
    model: str | None
    """The model of all its lines; None if they have several, or before they are validated."""
    output_file_id: str
    error_file_id: str
    """The ids of its results: the files exist once the batch has ended, if they have contents."""
    total: int
    completed: int
    failed: int
    output_bytes: int
    error_bytes: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    created_at: datetime
    expires_at: datetime
    in_progress_at: datetime | None
    finalizing_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    expired_at: datetime | None
    cancelling_at: datetime | None
    cancelled_at: datetime | None

    @property
    def has_ended(self) -> bool:
        return self.status not in ACTIVE


@dataclass(frozen=True, slots=True)
class LineResult:
    """The result of one line of the input file, as the line of a result file."""

    number: int
    """The line's number in the input file, from 1."""
    is_completed: bool
    """Whether it goes to the output file or to the error file."""
    data: bytes
    usage: Usage = NO_USAGE


class LeaseLost(Exception):
    """Another runner has taken over the batch, or it was deleted."""


class BatchStore(Protocol):
    """Stores batches by owner, and leases them to runners. Blocks: call it in a thread. Raises DatabaseError.

    A batch is worked on by the runner that holds its lease: one whose process was killed does not renew it, so another
    takes over. Only the holder may change what it works on: the others get LeaseLost.
    """

    def create(self, new: NewBatch) -> Batch: ...

    def get(self, key_id: str, batch_id: str) -> Batch:
        """Raises NotFound."""

    def list(self, key_id: str, query: PageQuery) -> Page[Batch]:
        """The batches of a key, by creation time. Raises NotFound for an unknown `after`."""

    def cancel(self, key_id: str, batch_id: str) -> Batch:
        """Ask the runner to end a batch. Raises NotFound; BatchEnded if there is nothing to cancel."""

    def claim(self, runner: str, lease: timedelta, limit: int) -> Sequence[Batch]:
        """Lease up to `limit` active batches that no runner holds, the oldest first."""

    def renew(self, runner: str, lease: timedelta, batch_ids: Collection[str]) -> Sequence[Batch]:
        """Extend the leases of a runner. Returns those batches that it still holds, as they are now."""

    def release(self, runner: str) -> None:
        """End all leases of a runner, so that another one takes over at once."""

    def begin(self, runner: str, batch_id: str, *, total: int, model: str | None) -> None:
        """The input is valid: the batch is in progress, unless it was cancelled."""

    def fail(self, runner: str, batch_id: str, errors: Sequence[Mapping[str, str | int | None]]) -> None:
        """The input is invalid."""

    def recorded(self, batch: Batch) -> frozenset[int]:
        """The numbers of the lines that have a result."""

    def record(self, runner: str, batch_id: str, results: Sequence[LineResult]) -> None:
        """Store results and count them, in one transaction."""

    def finalize(self, runner: str, batch_id: str) -> bool:
        """All lines have results: the batch is finalizing. Returns False if it was cancelled instead."""

    def end(self, runner: str, batch_id: str, status: Ended) -> None:
        """Make the result files visible, and end the batch."""
