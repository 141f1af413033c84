"""Server-sent events, parsed from the pieces in which a response arrives. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from crossette.errors import UpstreamFailed

MAX_EVENT_BYTES = 16 * 2**20
"""A longer event is an error: it would be held in memory."""


class EventParser:
    """Returns the data of each complete event. Comments and other fields than `data` are skipped."""

    def __init__(self) -> None:
        self._pending = bytearray()
        """The start of a line."""
        self._data: list[bytes] = []

    def push(self, piece: bytes) -> Iterator[bytes]:
        """The events that a piece completes. Raises UpstreamFailed for an event that is too long."""
        *lines, rest = piece.split(b"\n")
        for line in lines:
            self._pending += line
            complete = bytes(self._pending).removesuffix(b"\r")
            self._pending.clear()
            yield from self._read(complete)
        self._pending += rest
        if len(self._pending) + sum(map(len, self._data)) > MAX_EVENT_BYTES:
            raise UpstreamFailed("The upstream of this model sent an event that is too long.")

    def _read(self, line: bytes) -> Iterator[bytes]:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            yield data
