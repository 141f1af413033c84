"""Shell completion: names of models, and the options `--install-completion` and `--show-completion`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NoReturn

import click
from click.shell_completion import CompletionItem, get_completion_class

from crossette.models.catalogue import CATALOGUE
from crossette.models.fitting import BEST
from crossette.models.store import ModelStore, default_root

PROGRAM: Final = "crossette"
_VARIABLE: Final = "_CROSSETTE_COMPLETE"
"""The variable by which click's scripts ask for completions."""
_SHELLS: Final = ("bash", "zsh", "fish")
_THIS_SHELL: Final = "auto"


def complete_model(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`best`, and the names of the catalogue and of the store, that begin so, else files."""
    names = {BEST, *CATALOGUE, *ModelStore(default_root()).names()}
    return _beginning(names, incomplete) or [CompletionItem(incomplete, type="file")]


def complete_stored(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of the store that begin so."""
    return _beginning(ModelStore(default_root()).names(), incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def completion_options(command: click.Group) -> None:
    """Add both options to the group of all commands."""
    command.params += [
        _option("--install-completion", "Complete commands, options and models in this shell, or in SHELL.", _install),
        _option("--show-completion", "Print the completion script of this shell, or of SHELL.", _show),
    ]


def script_of(shell: str, command: click.Command) -> str:
    """The completion script of a shell."""
    complete = get_completion_class(shell)
    assert complete is not None  # the shells are click's own
    return complete(command, {}, PROGRAM, _VARIABLE).source()


def _option(flag: str, help: str, run: Callable[[str, click.Context], NoReturn]) -> click.Option:
    def callback(context: click.Context, param: click.Parameter, shell: str | None) -> None:
        if shell is not None and not context.resilient_parsing:
            run(_this_shell(flag, context) if shell == _THIS_SHELL else shell, context)

    return click.Option(
        [flag],
        is_flag=False,
        flag_value=_THIS_SHELL,
        expose_value=False,
        is_eager=True,
        metavar="[SHELL]",
        type=click.Choice((*_SHELLS, _THIS_SHELL)),
        callback=callback,
        help=f"{help} SHELL is {', '.join(_SHELLS[:-1])} or {_SHELLS[-1]}.",
    )


def _this_shell(flag: str, context: click.Context) -> str:
    """The user's login shell, by $SHELL."""
    shell = Path(os.environ.get("SHELL", "")).name
    if shell not in _SHELLS:
        context.fail(f"$SHELL is {shell!r}, which is not supported. Name a shell: {flag} {'|'.join(_SHELLS)}.")
    return shell


def _show(shell: str, context: click.Context) -> NoReturn:
    click.echo(script_of(shell, context.command))
    context.exit()


def _install(shell: str, context: click.Context) -> NoReturn:
    script, startup, line = _places(shell, Path.home())
    try:
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(script_of(shell, context.command) + "\n", encoding="utf-8")
        if startup is not None:
            _append_once(startup, line)
    except OSError as error:
        raise click.ClickException(f"Can't install the completion: {error}. Use --show-completion.") from error
    click.echo(f"Completion for {shell} is in {script}. It works in new terminals.")
    context.exit()


def _places(shell: str, home: Path) -> tuple[Path, Path | None, str]:
    """The file of the script; the startup file of the shell that must read it, if any, and the lines for it."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if shell == "fish":  # reads the folder by itself
        return config / "fish/completions" / f"{PROGRAM}.fish", None, ""
    if shell == "zsh":
        folder = Path(os.environ.get("ZDOTDIR") or home)
        script = folder / ".zfunc" / f"_{PROGRAM}"
        return script, folder / ".zshrc", f"fpath+={shlex.quote(str(script.parent))}; autoload -Uz compinit; compinit"
    script = home / ".bash_completions" / f"{PROGRAM}.sh"
    return script, home / ".bashrc", f"source {shlex.quote(str(script))}"


def _append_once(startup: Path, line: str) -> None:
    present = startup.read_text(encoding="utf-8") if startup.exists() else ""
    if line not in present.splitlines():
        with startup.open("a", encoding="utf-8") as file:
            file.write(("" if present.endswith("\n") or not present else "\n") + line + "\n")
