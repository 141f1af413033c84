"""The input file of a batch: its lines, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from crossette.api.schema.batches import MAX_CUSTOM_ID, BatchErrorEntry, InputLine

MAX_LINES = 50_000
"""Requests in a batch, as in OpenAI's API."""
MAX_ERRORS = 100
"""Errors that a failed batch lists."""
_ENVELOPE = 64 * 1024
"""What a line may have beside its body, in bytes."""
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank. Its number counts from 1 and includes blank lines."""

    number: int
    data: bytes
    """Without the line break; cut if the line is longer than any request may be."""
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A valid line."""

    number: int
    custom_id: str
    url: str
    body: bytes
    model: str
    """As sent; "" if the body has none, which its endpoint rejects."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """What the validation found."""

    total: int
    """The number of requests."""
    model: str | None
    """The model of all lines; None if they have several."""
    errors: Sequence[BatchErrorEntry]


class _Peeked(msgspec.Struct):
    model: Any = None  # Any: the endpoint validates it
    stream: Any = None


class LineError(Exception):
    """A line that is not a request of the batch."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


def lines(parts: Iterable[bytes], max_body_bytes: int) -> Iterator[Line]:
    """The lines of a file that comes in parts, with as much in memory as one line may have."""
    limit = max_body_bytes + _ENVELOPE
    number, rest, is_cut = 1, bytearray(), False
    for part in _without_bom(parts):
        *complete, last = part.split(b"\n")
        for piece in complete:
            rest += piece[: limit - len(rest)]
            is_cut = is_cut or len(rest) == limit
            if is_cut or (not rest.isspace() and rest):
                yield Line(number, bytes(rest), is_cut)
            number, is_cut = number + 1, False
            rest.clear()
        rest += last[: limit - len(rest)]
        is_cut = len(rest) == limit
    if rest and not rest.isspace():
        yield Line(number, bytes(rest), is_cut)


def _without_bom(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts, without a byte order mark at the start; the first part is as long as a file's start."""
    for index, part in enumerate(parts):
        yield part.removeprefix(_BOM) if index == 0 else part


def parsed(line: Line, is_endpoint: Callable[[str], bool]) -> BatchLine:
    """The request of a line. `is_endpoint` returns whether its url is allowed. Raises LineError."""
    if line.is_cut:
        raise LineError("line_too_long", f"The line has more than {len(line.data)} bytes, the limit.")
    try:
        read = msgspec.json.decode(line.data, type=InputLine)
        peeked = msgspec.json.decode(read.body, type=_Peeked)
    except msgspec.ValidationError as error:
        raise LineError("invalid_request", f"This line is not a request of a batch: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise LineError("invalid_json_line", "This line is not parseable as valid JSON.") from None
    if not 0 < len(read.custom_id) <= MAX_CUSTOM_ID:
        raise LineError("invalid_custom_id", f"custom_id must have 1 to {MAX_CUSTOM_ID} characters.", "custom_id")
    if not is_endpoint(read.url):
        raise LineError("url_mismatch", f"The url {read.url[:100]!r} is not the endpoint of this batch.", "url")
    if peeked.stream is not None and peeked.stream is not False:
        raise LineError("unsupported_parameter", "A request of a batch cannot stream: leave out stream.", "body.stream")
    model = peeked.model if isinstance(peeked.model, str) else ""
    return BatchLine(line.number, read.custom_id, read.url, bytes(read.body), model)


def validate(
    parts: Iterable[bytes],
    is_endpoint: Callable[[str], bool],
    max_body_bytes: int,
    max_lines: int | None = MAX_LINES,
) -> InputFile:
    """Check all lines of a file. Reads it once, with the ids of its lines in memory."""
    errors: list[BatchErrorEntry] = []
    seen: set[str] = set()
    models: set[str] = set()
    total = 0
    for line in lines(parts, max_body_bytes):
        total += 1
        try:
            if max_lines is not None and total > max_lines:
                raise LineError("too_many_tasks", f"A batch has up to {max_lines} requests. Split the file.")
            request = parsed(line, is_endpoint)
            if request.custom_id in seen:
                raise LineError(
                    "duplicate_custom_id", f"Another line has the custom_id {request.custom_id[:100]!r}.", "custom_id"
                )
            seen.add(request.custom_id)
            models.add(request.model)
        except LineError as error:
            errors.append(BatchErrorEntry(code=error.code, message=error.message, line=line.number, param=error.param))
            if len(errors) >= MAX_ERRORS or error.code == "too_many_tasks":
                break
    if not total:
        errors.append(BatchErrorEntry(code="empty_file", message="The file has no requests.", line=None, param=None))
    return InputFile(total, models.pop() or None if len(models) == 1 else None, errors)
