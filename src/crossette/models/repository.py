"""A repository of the Hub, and the verified download of its files: several at once, continued after an interruption."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from crossette.models.fetch import (
    FetchFailed,
    Progress,
    check_room,
    check_sha256,
    git_sha1_of,
    report_size,
    sha256_of,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")

PARALLEL = 4
"""Files that are downloaded at once."""
HEAD_BLOCK = 2 << 20
"""Bytes of a file that are downloaded at a time while its header is read: 4 to 12 MB with the vocabulary."""


@dataclass(frozen=True, slots=True)
class HubFile:
    size: int | None
    sha256: str | None
    """Known for large files only."""
    git_sha1: str | None = None
    """Known for the others."""


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository at one commit."""

    name: str
    commit: str
    files: Mapping[str, HubFile]
    license: str | None = None


class Hub(Protocol):
    """The operations of the Hub that are used here. Both raise FetchFailed."""

    def repo(self, name: str, revision: str | None) -> HubRepo: ...

    def fetch(self, repo: HubRepo, file: str, part: Path, end: int | None, stop: Event) -> None:
        """Let `part` have the first `end` bytes of a file, or all of it; it may have some already.

        Fails soon once `stop` is set. Safe to call for several files at once.
        """


class RepoDownload:
    """Downloads files of a repository into a folder, which may have what an earlier download left."""

    def __init__(self, hub: Hub, repo: HubRepo, folder: Path) -> None:
        self._hub = hub
        self._repo = repo
        self._folder = folder

    def path(self, file: str) -> Path:
        """Where a file is once it was downloaded and verified; the path is one for each content.

        Raises FetchFailed for a name that leaves the folder.
        """
        if not {"", ".", ".."}.isdisjoint(file.split("/")):
            raise FetchFailed(f"{self._repo.name} has a file with the invalid name {file!r}")
        return self._folder / self._key(file) / file

    def _key(self, file: str) -> str:
        known = self._repo.files[file]
        return (known.sha256 or known.git_sha1 or self._repo.commit)[:16]

    def head(self, file: str, size: int) -> BinaryIO:
        """A file of `size` bytes, read from its beginning: what is read is downloaded first, and kept."""
        if (path := self.path(file)).is_file():
            return path.open("rb")
        part = self._part(file)
        fetch = partial(self._hub.fetch, self._repo, file, part, stop=Event())
        return io.BufferedReader(_Head(part, size, lambda end: fetch(end=end)), HEAD_BLOCK)

    def run(self, files: Collection[str], progress: Progress, further: int = 0) -> dict[str, str]:
        """Download and verify files. Returns their sha256.

        Raises FetchFailed, also before the first byte if the disk has no room for them and `further` bytes.
        """
        sizes = [self._repo.files[file].size for file in files]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        self._delete_others(files)
        check_room(self._folder, (total or 0) - sum(map(self._present, files)) + further, f"for {self._repo.name}")
        license = f" ({self._repo.license})" if self._repo.license else ""
        with report_size(self._folder, f"Downloading {self._repo.name}{license}", total, progress):
            self._each(self._fetch, files)
        progress(f"Verifying {self._repo.name}", 0, None)
        return self._each(self._verified, files)

    def _delete_others(self, files: Collection[str]) -> None:
        """Delete what an earlier download left of other contents than these."""
        wanted = {self._key(file) for file in files}
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.name not in wanted:
                shutil.rmtree(folder, ignore_errors=True)

    def _each(self, job: Callable[[str, Event], T], files: Collection[str]) -> dict[str, T]:
        """The results of a job for each file, several at once. The event is set when one of them fails."""
        stop = Event()
        with ThreadPoolExecutor(PARALLEL, "crossette-download") as threads:
            jobs = {file: threads.submit(job, file, stop) for file in files}
            try:
                for done in as_completed(jobs.values()):
                    done.result()
            except BaseException:  # Ctrl-C as well
                stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        return {file: done.result() for file, done in jobs.items()}

    def _fetch(self, file: str, stop: Event) -> None:
        if not self.path(file).is_file():
            self._hub.fetch(self._repo, file, self._part(file), self._repo.files[file].size, stop)

    def _verified(self, file: str, stop: Event) -> str:
        """The sha256 of a file that was downloaded, now or earlier."""
        path, part = self.path(file), self._part(file)
        if path.is_file():
            return sha256_of(path)
        try:
            sha256 = self._verify(file, part)
        except FetchFailed:
            part.unlink()  # or the next download would continue it
            raise
        part.rename(path)
        return sha256

    def _verify(self, file: str, part: Path) -> str:
        known, what, sha256 = self._repo.files[file], f"{self._repo.name}/{file}", sha256_of(part)
        if known.sha256 is not None:
            check_sha256(sha256, known.sha256, what)
        elif known.git_sha1 is not None:
            check_sha256(git_sha1_of(part), known.git_sha1, what, "git's sha1")
        return sha256

    def _part(self, file: str) -> Path:
        path = self.path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f"{path.name}.part")

    def _present(self, file: str) -> int:
        """The bytes of a file that an earlier download left."""
        path, part = self.path(file), self._part(file)
        return next((found.stat().st_size for found in (path, part) if found.is_file()), 0)


class _Head(io.RawIOBase):
    """A file whose bytes are downloaded when they are read."""

    def __init__(self, part: Path, size: int, fetch: Callable[[int], None]) -> None:
        """`fetch` lets `part` have so many bytes from the beginning."""
        self._part = part
        self._size = size
        self._fetch = fetch
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        end = min(self._position + len(view), self._size)
        self._fetch(end)
        with self._part.open("rb") as file:
            file.seek(self._position)
            count = file.readinto(view[: end - self._position])
        self._position += count
        return count
