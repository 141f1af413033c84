"""The consoles of the commands, and progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from crossette.machine import format_memory
from crossette.models.catalogue import CATALOGUE
from crossette.models.fetch import Progress as ProgressCallback
from crossette.models.fitting import BEST, best_here
from crossette.models.store import ModelStore, default_root
from crossette.server.downloads import pull_with_progress

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def wide_console(at_least: int, like: Console = out) -> Console:
    """A console for tables that never truncates names and paths, even in a narrow terminal."""
    return Console(width=max(like.width, at_least), stderr=like.stderr, quiet=like.quiet, highlight=False, markup=False)


@contextmanager
def progress() -> Iterator[ProgressCallback]:
    """Progress bars for `models.pull` with speed and remaining time, shown on terminals only."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, completed=done)  # what is there has no speed
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
    reference = _named(reference)
    _show_terms(reference)
    with progress() as show:
        return pull_with_progress(reference, show)


def _named(reference: str) -> str:
    """The reference, with the name of a model instead of `best`."""
    if reference != BEST:
        return reference
    entry = best_here()
    size = format_memory(entry.download_size)
    err.print(f"{BEST} is {entry.name} ({size}, {entry.license}): the largest that fits this machine.", soft_wrap=True)
    return entry.name


def _show_terms(reference: str) -> None:
    """Print where the terms of a model's licence are, before it is downloaded."""
    entry = CATALOGUE.get(reference)
    if entry is not None and entry.terms and entry.name not in ModelStore(default_root()).names():
        err.print(f"{entry.name} is under the {entry.license}: {entry.terms}", soft_wrap=True)
