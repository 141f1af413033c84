"""The folder of a model's download, which outlives a download that was interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from filelock import FileLock, Timeout

from crossette.errors import ModelError
from crossette.models.fetch import FetchFailed, NotAvailable
from crossette.models.store import DOWNLOAD_SUFFIX

LOCK_FILE = ".lock"


@contextmanager
def download_folder(root: Path, name: str) -> Iterator[Path]:
    """Yield the folder for the files of the model `name`, with those that an interrupted download left.

    It is deleted at the end, also after an error, unless another attempt can continue. While another process has it,
    the folder is one of this process alone, and always deleted.
    """
    folder = root / f".{name}{DOWNLOAD_SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(blocking=False)
    except (Timeout, OSError, NotImplementedError):  # the last two where the disk has no locks
        with TemporaryDirectory(dir=root, prefix=f".{name}.") as alone:
            yield Path(alone)
        return
    try:
        yield from _kept_if_interrupted(folder)
    finally:
        lock.release()


def _kept_if_interrupted(folder: Path) -> Iterator[Path]:
    try:
        yield folder
    except (FetchFailed, NotAvailable):
        _delete(folder, only_if_empty=True)
        raise
    except (ModelError, OSError):  # the model is refused, so the files are of no use
        _delete(folder)
        raise
    _delete(folder)


def _delete(folder: Path, *, only_if_empty: bool = False) -> None:
    """Delete it under another name: another process may create the folder anew meanwhile."""
    if only_if_empty and any(path.is_file() and path.name != LOCK_FILE for path in folder.rglob("*")):
        return
    hidden = folder.with_name(f"{folder.name}.{uuid4().hex[:12]}")
    with suppress(OSError):
        folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
