"""What the commands write to, and how they show that something takes time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from crossette.models.fetch import Progress as ProgressCallback

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def wide(at_least: int) -> Console:
    """A console for tables: whole names and paths, also in a narrow terminal, for they are there to be copied."""
    return Console(width=max(out.width, at_least), highlight=False, markup=False)


@contextmanager
def progress() -> Iterator[ProgressCallback]:
    """A progress bar on a terminal, drawn for `models.pull`; quiet where nobody looks."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def pull(reference: str) -> Any:
    """The stored model of a reference, fetched and converted if it is not there yet."""
    from crossette.models.pull import pull as pull_model
    from crossette.models.store import ModelStore, default_root

    with progress() as show:
        return pull_model(ModelStore(default_root()), reference, _convert, show)


def _convert(gguf: Path, folder: Path) -> Any:
    from crossette.engines.openvino.convert import convert  # 0.1 s that only a GGUF file that is new should cost

    return convert(gguf, folder)
