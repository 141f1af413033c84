"""Files downloaded over HTTP, which continue where an earlier attempt ended.

huggingface_hub's own downloads begin anew: each has a temporary file of its own, which is deleted when it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

import httpx

from crossette.models.fetch import FetchFailed

RETRIES = 5
"""Attempts after one that brought no bytes."""
PAUSE_S = 1.0
"""Seconds before the second attempt; each further one waits twice as long."""

_STOPPED = "the download was stopped"
_BUSY = frozenset({408, 429, 500, 502, 503, 504})


class _Busy(Exception):
    """An answer that may be another one later."""


class Download:
    """The beginning of a file on a server, which grows in `part`. Not safe to use from several threads."""

    def __init__(
        self, client: httpx.Client, url: str, part: Path, stop: Event, refuse: Callable[[httpx.Response], str]
    ) -> None:
        """`refuse` says why an answer has no file. Once `stop` is set, the download fails at the next bytes."""
        self._client = client
        self._url = url
        self._part = part
        self._stop = stop
        self._refuse = refuse

    def extend(self, end: int | None) -> None:
        """Let `part` have the first `end` bytes, or all of the file. Raises FetchFailed; `part` keeps what it has."""
        self._part.touch()
        failures = 0
        while end is None or self._size() < end:
            before = self._size()
            try:
                self._append(end)
            except (httpx.TransportError, _Busy) as error:
                failures = 1 if self._size() > before else failures + 1
                if failures > RETRIES:
                    raise FetchFailed(f"{self._url}: {error or type(error).__name__}") from error
                if self._stop.wait(PAUSE_S * 2 ** (failures - 1)):
                    raise FetchFailed(_STOPPED) from error
                continue
            if end is not None and self._size() < end:
                raise FetchFailed(f"{self._url}: the server sent {self._size()} bytes, where {end} were expected")
            return

    def _size(self) -> int:
        return self._part.stat().st_size

    def _append(self, end: int | None) -> None:
        start = 0 if end is None else self._size()
        headers = {"Accept-Encoding": "identity"}  # compressed, bytes would have other positions
        if end is not None:
            headers["Range"] = f"bytes={start}-{end - 1}"
        with self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code in _BUSY:
                raise _Busy(f"HTTP {response.status_code}")
            if response.status_code not in (200, 206):
                response.read()
                raise FetchFailed(self._refuse(response))
            # A server without ranges sends the file from its first byte.
            self._write(response, "ab" if response.status_code == 206 else "wb", end)

    def _write(self, response: httpx.Response, mode: str, end: int | None) -> None:
        try:
            with self._part.open(mode) as file:
                for data in response.iter_raw():
                    if self._stop.is_set():
                        raise FetchFailed(_STOPPED)
                    file.write(data)
                    if end is not None and file.tell() >= end:
                        break
                if end is not None:
                    file.truncate(min(file.tell(), end))
        except OSError as error:
            raise FetchFailed(f"can't write {self._part}: {error.strerror or error}") from error
