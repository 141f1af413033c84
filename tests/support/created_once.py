"""A lock for what one worker of the tests creates, and all of them use."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def creating(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which may not exist yet; other processes wait. It is free when the holder ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
