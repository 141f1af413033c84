"""Shared parts of all downloads: progress, checksums and errors."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from crossette.errors import ModelError
from crossette.machine import format_memory
from crossette.models.store import folder_size

CHUNK = 1 << 20
WATCH_INTERVAL_S = 0.2


class Progress(Protocol):
    """A progress callback. It may be called from any thread."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Report that `done` of `total` bytes of `what` are done; a total of None is unknown."""


CheckHead = Callable[[BinaryIO, int, str], int]
"""Checks a GGUF file by its beginning, before the rest is downloaded: the stream, the file's size, and its name.

Returns the bytes of the converted model. Raises ModelError if it cannot be converted.
"""


class FetchFailed(ModelError):
    """A download from one source failed. The message is the reason, in one sentence."""


class NotAvailable(ModelError):
    """The downloads from all sources failed. The message lists them and the manual alternative."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A downloaded or local GGUF file with its revision and checksum."""

    path: Path
    revision: str
    sha256: str
    license: str | None = None


@contextmanager
def report_size(folder: Path, what: str, total: int | None, progress: Progress) -> Iterator[None]:
    """Report the growing size of a folder as download progress."""
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(WATCH_INTERVAL_S):
            done = folder_size(folder)
            progress(what, done if total is None else min(done, total), total)

    thread = threading.Thread(target=report, name="crossette-progress", daemon=True)
    progress(what, folder_size(folder), total)  # more than 0 if it continues an earlier download
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    progress(what, folder_size(folder) if total is None else total, total)


def check_room(folder: Path, needed: int, why: str) -> None:
    """Raise FetchFailed unless the disk of `folder` has `needed` free bytes; `why` says for what."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FetchFailed(
            f"the disk of {folder.parent} has {format_memory(free)} free, and {format_memory(needed)} are needed {why}."
            " Free some, or set CROSSETTE_HOME to a folder on a larger disk"
        )


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_sha1_of(path: Path) -> str:
    """The checksum by which Git names a file's content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def copy_hashed(source: BinaryIO, target: Path) -> str:
    """Write a stream to a file and return the sha256 of what was written."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def check_sha256(found: str, expected: str, what: str, kind: str = "sha256") -> None:
    if found != expected:
        raise FetchFailed(f"{what} has {kind} {found}, not {expected}: the file is corrupt or was replaced")
