"""Commands with their help in panels, and the nearest name for a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import click

OTHER = "Options"
"""The panel of options without a panel of their own, `--help` among them."""


class PanelOption(click.Option):
    """An option that `--help` shows in a panel."""

    def __init__(self, declared: Sequence[str], *, panel: str = OTHER, **attributes: object) -> None:
        super().__init__(declared, **attributes)  # type: ignore[arg-type]  # click's own keyword arguments
        self.panel = panel


class PanelCommand(click.Command):
    """A command whose `--help` shows its options in panels: first those without one, then in order of declaration."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            (getattr(param, "panel", OTHER), record)
            for param in self.get_params(ctx)
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx))
        ]
        _write_panels(formatter, OTHER, rows)


class Group(click.Group):
    """A group of commands that names the nearest command for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = self.list_commands(ctx)
            near = difflib.get_close_matches(args[0], known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Commands: {', '.join(known)}."
            ctx.fail(f"There is no command '{args[0]}'. {hint}")
        return super().resolve_command(ctx, args)


def write_commands(formatter: click.HelpFormatter, rows: Iterable[tuple[str, click.Command, str]]) -> None:
    """Write commands, given as panel, command and name, in panels."""
    listed = list(rows)
    limit = formatter.width - 6 - max(len(name) for _, _, name in listed)
    records = [(panel, (name, command.get_short_help_str(limit))) for panel, command, name in listed]
    _write_panels(formatter, "", records)


def _write_panels(formatter: click.HelpFormatter, first: str, rows: Sequence[tuple[str, tuple[str, str]]]) -> None:
    panels: dict[str, list[tuple[str, str]]] = {first: []}
    for panel, record in rows:
        panels.setdefault(panel, []).append(record)
    for panel, records in panels.items():
        if records:
            with formatter.section(panel):
                formatter.write_dl(records)
