"""What every way of fetching shares: progress, checksums, and the error of one attempt that failed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from crossette.errors import ModelError
from crossette.models.store import folder_size

CHUNK = 1 << 20
WATCH_INTERVAL_S = 0.2


class Progress(Protocol):
    """Told, now and then and from any thread, how far something is. The terminal is drawn elsewhere."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """`what` is done up to `done` of `total` bytes; a total of None is not known."""


class FetchFailed(ModelError):
    """One source did not give the file: str() is one sentence about why."""


class NotAvailable(ModelError):
    """No source gives the file: str() says which were tried, and what to do."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A GGUF file in a folder of ours, and what exactly it is."""

    path: Path
    revision: str
    sha256: str


@contextmanager
def watched(folder: Path, what: str, total: int | None, progress: Progress) -> Iterator[None]:
    """Report the growing size of a folder that somebody else writes into."""
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(WATCH_INTERVAL_S):
            done = folder_size(folder)
            progress(what, done if total is None else min(done, total), total)

    thread = threading.Thread(target=report, name="crossette-progress", daemon=True)
    progress(what, 0, total)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    progress(what, folder_size(folder) if total is None else total, total)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_hashed(source: BinaryIO, target: Path) -> str:
    """Write a stream to a file and return the sha256 of what was written."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def check_sha256(found: str, expected: str, what: str) -> None:
    if found != expected:
        raise FetchFailed(f"{what} has sha256 {found}, not {expected}: it is damaged or not the file it should be")
