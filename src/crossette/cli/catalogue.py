"""The lists of models with a short name: all of them, and those that fit this machine."""

from __future__ import annotations

from rich.table import Table

from crossette.cli.console import err, out, wide_console
from crossette.machine import format_memory, total_memory
from crossette.models.catalogue import CATALOGUE, DEFAULT
from crossette.models.catalogue_entry import CatalogueEntry
from crossette.models.fitting import BEST, SHARE, best_of, fitting, memory_of
from crossette.models.reference import CatalogueRef
from crossette.models.store import ModelStore

REFERENCES = "hf:ORG/REPO[:FILE.gguf] on the Hugging Face Hub, a .gguf file, or a folder with an OpenVINO model"


def list_catalogue(store: ModelStore) -> None:
    """Print all models of the catalogue."""
    sources = {model.name: model.record.source for model in store.models()}
    listing = _table("name", "download", "memory", "license", "in the store", "description")
    for entry in CATALOGUE.values():
        is_stored = sources.get(entry.name) == CatalogueRef(entry).source
        listing.add_row(entry.name, *_facts(entry), "yes" if is_stored else "no", entry.description)
    wide_console(200).print(listing)
    for text in (
        f"Pull one: crossette pull NAME. NAME can also be {REFERENCES}.",
        _best_line(fitting(total_memory()), "pull"),
        *_terms(),
    ):
        out.print(text, soft_wrap=True, markup=False)


def show_fitting() -> None:
    """Print the models that fit this machine to stderr, before the default one is downloaded."""
    total = total_memory()
    entries = fitting(total)
    listing = _table("name", "download", "memory", "license", "command")
    for entry in entries:
        listing.add_row(entry.name, *_facts(entry), f"crossette serve {entry.name}")
    err.print(
        f"No model is chosen, so {DEFAULT.name} is served. These fit {SHARE:.0%} of the memory of this machine,"
        f" {format_memory(total)}:\n",
        soft_wrap=True,
    )
    wide_console(130, err).print(listing)
    err.print(f"\n{_best_line(entries, 'serve')}\n", soft_wrap=True)


def _table(*headings: str) -> Table:
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _facts(entry: CatalogueEntry) -> tuple[str, str, str]:
    return format_memory(entry.download_size), format_memory(memory_of(entry)), entry.license


def _best_line(entries: list[CatalogueEntry], command: str) -> str:
    """What `best` is, of the models that fit."""
    entry = best_of(entries)
    if entry is None:
        return "None of them fits half of this machine's memory."
    return f"The largest for any chat that fits this machine: crossette {command} {BEST} takes {entry.name}."


def _terms() -> list[str]:
    """A line for each licence that is not one of open source."""
    terms = {entry.license: entry.terms for entry in CATALOGUE.values() if entry.terms}
    return [f"{license}: its terms are at {url}" for license, url in terms.items()]
