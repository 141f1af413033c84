"""The consoles of the commands, and progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crossette.models.fetch import Progress as ProgressCallback

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def wide_console(at_least: int) -> Console:
    """A console for tables that never truncates names and paths, even in a narrow terminal."""
    return Console(width=max(out.width, at_least), highlight=False, markup=False)


@contextmanager
def progress() -> Iterator[ProgressCallback]:
    """A progress bar for `models.pull`, shown on terminals only."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


@contextmanager
def counting(what: str, total: int, done: int) -> Iterator[Callable[[str], None]]:
    """A progress bar of `total` things, shown on terminals only. Call it with a note when another one is done."""
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task("", total=total, completed=done)
        yield lambda note: bars.update(task, advance=1, description=note)


def pull(reference: str) -> Any:
    """Return the stored model of a reference, downloading and converting it if necessary."""
    with progress() as show:
        return pull_with_progress(reference, show)


def pull_with_progress(reference: str, show: ProgressCallback) -> Any:
    """As `pull`, with another progress callback."""
    from crossette.models.pull import pull as pull_model
    from crossette.models.store import ModelStore, default_root

    return pull_model(ModelStore(default_root()), reference, _convert, show)


def _convert(gguf: Path, folder: Path) -> Any:
    from crossette.engines.openvino.convert import convert  # its import takes 0.1 s, which only a conversion needs

    return convert(gguf, folder)
