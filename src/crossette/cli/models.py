"""The commands `crossette pull` and `crossette models`."""

from __future__ import annotations

import click
from rich.table import Table

from crossette.cli.catalogue import REFERENCES, list_catalogue
from crossette.cli.completion import complete_model, complete_stored
from crossette.cli.console import out, wide_console
from crossette.cli.console import pull as pull_model
from crossette.cli.help import Group
from crossette.machine import format_memory
from crossette.models.catalogue import DEFAULT
from crossette.models.store import ModelRecord, ModelStore, default_root


@click.command(
    help="Download and convert a model, or list those with a short name.\n\nREF is a short name, `best` for the"
    f" largest of them that fits this machine, {REFERENCES}. Without REF, the models with a short name are listed."
)
@click.argument("reference", metavar="[REF]", required=False, shell_complete=complete_model)
def pull(reference: str | None) -> None:
    if reference is None:
        list_catalogue(ModelStore(default_root()))
        return
    stored = pull_model(reference)
    license = f" Its license is {stored.record.license}." if stored.record.license else ""
    out.print(f"{stored.name} is ready in {stored.path}.{license}", soft_wrap=True)


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the downloaded models, or remove one."""
    if context.invoked_subcommand is None:
        _list(ModelStore(default_root()))


def _list(store: ModelStore) -> None:
    listing = Table(box=None)
    for heading in ("name", "architecture", "quantization", "context", "size", "license", "path"):
        listing.add_column(heading, no_wrap=True)
    for model in store.models():
        record = model.record
        listing.add_row(
            model.name,
            record.architecture,
            _quantization(record),
            str(record.context_length),
            format_memory(model.size),
            record.license or "unknown",
            str(model.path),
        )
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
