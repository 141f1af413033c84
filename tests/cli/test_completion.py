"""Shell completion, by real shells where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from crossette.cli import main as cli
from crossette.models.catalogue import DEFAULT

LIMIT_S = 60

COMPLETE = """
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_crossette_completion "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""What bash does when the user presses the tab key after the words in `$@`."""


def run(home: Path, *command: str) -> str:
    """Run a program with its own home folder, in which `crossette` is on the path. Returns its output."""
    programs = home / "bin"
    programs.mkdir(exist_ok=True)
    program = programs / "crossette"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m crossette "$@"\n')
    program.chmod(0o755)
    environ = os.environ | {"HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}", "CROSSETTE_HOME": str(home)}
    for name in ("XDG_CONFIG_HOME", "ZDOTDIR"):
        environ.pop(name, None)
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT_S)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["se"], ["serve"]),
        (["serve", "--po"], ["--port"]),
        (["serve", "--log-level", "d"], ["debug"]),
        (["serve", "--log-format", ""], ["console", "json"]),
        (["serve", "--allow-a"], ["--allow-anonymous"]),
        (["serve", "--no-allow-a"], ["--no-allow-anonymous"]),
        (["keys", "up"], ["update"]),
        (["keys", "update", "a", "--total"], ["--total-tokens"]),
        (["bench", "--shape", "s"], ["short", "shared"]),
        (["serve", "smollm2-135"], [DEFAULT.name]),
        (["serve", "bes"], ["best"]),
        (["--show"], ["--show-completion"]),
        (["xyzzy"], [""]),
    ],
)
def test_bash_completes_commands_options_and_values(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    script = run(tmp_path, "crossette", "--show-completion", "bash")

    shown = run(tmp_path, "bash", "--norc", "-c", script + COMPLETE, "bash", "crossette", *words)

    assert shown.splitlines() == expected


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_a_new_bash_completes_after_the_installation(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("alias a=b")

    for _ in range(2):
        assert "Completion for bash is in" in run(tmp_path, "crossette", "--install-completion", "bash")

    assert "-F _crossette_completion" in run(tmp_path, "bash", "-ic", "complete -p crossette")
    lines = (tmp_path / ".bashrc").read_text().splitlines()
    assert lines == ["alias a=b", f"source {tmp_path}/.bash_completions/crossette.sh"]


@pytest.mark.parametrize(
    ("shell", "script", "startup", "text"),
    [
        ("zsh", ".zfunc/_crossette", ".zshrc", "#compdef crossette"),
        ("fish", ".config/fish/completions/crossette.fish", None, "complete --no-files --command crossette"),
    ],
)
def test_other_shells_have_their_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, script: str, startup: str | None, text: str
) -> None:
    home = tmp_path / "my home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("ZDOTDIR", raising=False)

    ended = CliRunner().invoke(cli.app, ["--install-completion"])  # the shell is that of $SHELL

    assert ended.exit_code == 0, ended.output
    assert text in (home / script).read_text()
    if startup is not None:
        assert f"fpath+='{home}/.zfunc'" in (home / startup).read_text()


@pytest.mark.parametrize("shell", ["", "/bin/tcsh"])
def test_an_unknown_shell_must_be_named(monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("SHELL", shell)

    ended = CliRunner().invoke(cli.app, ["--show-completion"])

    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "Name a shell: --show-completion bash|zsh|fish." in ended.stderr


def test_a_home_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "file"
    home.touch()
    monkeypatch.setenv("HOME", str(home))

    ended = CliRunner().invoke(cli.app, ["--install-completion", "bash"])

    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "Can't install the completion: " in ended.stderr
