"""The wire types of batches, and of the lines of their files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

import msgspec

from crossette.accounts.batches import Batch, NewBatch, Status
from crossette.api.schema import fields
from crossette.api.schema.files import ExpiresAfter
from crossette.api.schema.table import REQUIRED, Description, Field, Table
from crossette.errors import InvalidRequest, invalid_value
from crossette.timespec import parse_duration

_MIN_WINDOW, _MAX_WINDOW = timedelta(hours=1), timedelta(days=7)
_MAX_METADATA = 16
MAX_CUSTOM_ID = 512
"""Characters of a custom_id; OpenAI allows 64."""


class BatchRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /batches."""

    table: ClassVar[Table] = Table(
        {
            "input_file_id": Field("The file with a request in each line.", default=REQUIRED),
            "endpoint": Field(
                "The path of all requests, such as /v1/chat/completions: its base path is their dialect.",
                default=REQUIRED,
            ),
            "completion_window": Field(
                "How long the batch may take: 24h, or 1h to 7d. What has not run by then expires.", default=REQUIRED
            ),
            "metadata": Field("Returned with the batch.", limits=(0, _MAX_METADATA)),
            "output_expires_after": Field(
                "How long the output file and the error file are kept.", default=Description("as long as files are")
            ),
        }
    )

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None

    def new_batch(self, key_id: str, *, endpoints: Sequence[str], now: datetime, most_s: float) -> NewBatch:
        """What the store gets. Raises InvalidRequest."""
        if self.endpoint not in endpoints:
            raise invalid_value("endpoint", endpoints, repr(self.endpoint[:100]))
        if self.output_expires_after is not None:
            self.output_expires_after.check("output_expires_after", most_s)
        self._check_metadata()
        return NewBatch(
            key_id,
            self.endpoint,
            self.input_file_id,
            self.completion_window,
            now + self._window(),
            self.metadata,
            self.output_expires_after.seconds if self.output_expires_after else None,
        )

    def _window(self) -> timedelta:
        try:
            window = parse_duration(self.completion_window)
            if not _MIN_WINDOW <= window <= _MAX_WINDOW:
                raise ValueError("it is not from 1h to 7d")
        except ValueError as error:
            raise InvalidRequest(
                f"completion_window must be a duration such as 24h: {error}", param="completion_window"
            ) from None
        return window

    def _check_metadata(self) -> None:
        given = self.metadata or {}
        if len(given) > _MAX_METADATA:
            raise InvalidRequest(
                f"metadata may have up to {_MAX_METADATA} entries, not {len(given)}.",
                param="metadata",
                code="object_above_max_properties",
            )
        for key, text in given.items():
            if len(key) > fields.MAX_METADATA_KEY or len(text) > fields.MAX_METADATA_VALUE:
                raise InvalidRequest(
                    f"A key of metadata may have up to {fields.MAX_METADATA_KEY} characters and a value up to "
                    f"{fields.MAX_METADATA_VALUE}: '{key[:20]}'",
                    param="metadata",
                    code="string_above_max_length",
                )


# --- answers ---


class BatchErrorEntry(msgspec.Struct, kw_only=True):
    """What is wrong with the input file."""

    code: str
    message: str
    line: int | None
    """The number of the line, from 1."""
    param: str | None


class BatchErrors(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: Sequence[BatchErrorEntry]


class RequestCounts(msgspec.Struct, kw_only=True):
    total: int
    completed: int
    failed: int


class CachedTokens(msgspec.Struct, kw_only=True):
    cached_tokens: int


class ReasoningTokens(msgspec.Struct, kw_only=True):
    reasoning_tokens: int


class BatchUsage(msgspec.Struct, kw_only=True):
    """The usage of the lines that have run so far."""

    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class BatchObject(msgspec.Struct, kw_only=True):
    id: str
    object: str = "batch"
    endpoint: str
    model: str | None
    """The model of all lines; null if they have several."""
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None

    @classmethod
    def of(cls, batch: Batch) -> BatchObject:
        errors = [BatchErrorEntry(**error) for error in _errors(batch)]
        return cls(
            id=batch.id,
            endpoint=batch.endpoint,
            model=batch.model,
            errors=BatchErrors(data=errors) if errors else None,
            input_file_id=batch.input_file_id,
            completion_window=batch.completion_window,
            status=batch.status,
            output_file_id=batch.output_file_id if batch.has_ended and batch.output_bytes else None,
            error_file_id=batch.error_file_id if batch.has_ended and batch.error_bytes else None,
            created_at=int(batch.created_at.timestamp()),
            in_progress_at=_seconds(batch.in_progress_at),
            expires_at=int(batch.expires_at.timestamp()),
            finalizing_at=_seconds(batch.finalizing_at),
            completed_at=_seconds(batch.completed_at),
            failed_at=_seconds(batch.failed_at),
            expired_at=_seconds(batch.expired_at),
            cancelling_at=_seconds(batch.cancelling_at),
            cancelled_at=_seconds(batch.cancelled_at),
            request_counts=RequestCounts(total=batch.total, completed=batch.completed, failed=batch.failed),
            usage=BatchUsage(
                input_tokens=batch.prompt_tokens,
                input_tokens_details=CachedTokens(cached_tokens=batch.cached_tokens),
                output_tokens=batch.completion_tokens,
                output_tokens_details=ReasoningTokens(reasoning_tokens=batch.reasoning_tokens),
                total_tokens=batch.prompt_tokens + batch.completion_tokens,
            ),
            metadata=dict(batch.metadata) if batch.metadata is not None else None,
        )


class BatchList(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: Sequence[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def _errors(batch: Batch) -> Sequence[dict[str, Any]]:  # Any: as the database returns JSON
    return [dict(error) for error in batch.errors or ()]


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


# --- the lines of files ---


class InputLine(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A request in the input file."""

    custom_id: str
    """Identifies the request in the output; no other line has it."""
    method: Literal["POST"]
    url: str
    """The endpoint of the batch."""
    body: msgspec.Raw


class LineResponse(msgspec.Struct, kw_only=True):
    status_code: int
    request_id: str
    body: msgspec.Raw


class LineError(msgspec.Struct, kw_only=True):
    """Why a request has no response."""

    code: str
    message: str


class OutputLine(msgspec.Struct, kw_only=True):
    """A line of the output file or the error file."""

    id: str
    custom_id: str
    response: LineResponse | None
    error: LineError | None

    def encoded(self) -> bytes:
        return msgspec.json.encode(self) + b"\n"
