"""Settings from four places, and one error that names the place at fault."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from crossette import config, serve
from crossette.engines.fake import FakeEngine
from crossette.errors import ConfigError
from crossette.settings import setting
from crossette.store.open import open_store
from crossette.store.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class Here:
    port: int = setting(1, "Where.")
    alias: tuple[str, ...] = setting((), "Other names.")
    level: Literal["low", "high"] = setting("low", "How much.")
    limit: int | None = setting(None, "At most.")


@dataclass(frozen=True, slots=True)
class There:
    drain_timeout: float = setting(30.0, "How long.")
    exact: bool = setting(True, "Whether.")


TABLE = config.table((Here, There))


def gather(
    tmp_path: Path,
    *,
    file: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    path = None
    if file is not None:
        path = tmp_path / "crossette.toml"
        path.write_text(file, encoding="utf-8")
    return config.gather(TABLE, flags=flags or {}, environ=environ or {}, file=path)


# --- which place counts ---

FILE, ENVIRON, FLAGS = "port = 2", {"CROSSETTE_PORT": "3"}, {"port": "4"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 1),
        ({"file": FILE}, 2),
        ({"file": FILE, "environ": ENVIRON}, 3),
        ({"environ": ENVIRON}, 3),
        ({"file": FILE, "environ": ENVIRON, "flags": FLAGS}, 4),
        ({"file": FILE, "flags": FLAGS}, 4),
        ({"environ": {"CROSSETTE_PORT": ""}}, 1),
    ],
)
def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(
    tmp_path: Path, given: dict[str, Any], expected: int
) -> None:
    assert gather(tmp_path, **given)["port"] == expected


def test_settings_not_given_have_their_defaults(tmp_path: Path) -> None:
    values = gather(tmp_path, file="port = 2")

    assert (config.fill(Here, values), config.fill(There, values)) == (Here(port=2), There())


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("limit = 5", "limit", 5),
        ("drain-timeout = 2", "drain_timeout", 2.0),
        ("drain_timeout = 2.5", "drain_timeout", 2.5),
        ("exact = false", "exact", False),
        ('level = "high"', "level", "high"),
        ('alias = ["a=b", "c"]', "alias", ("a=b", "c")),
        ('[alias]\na = "b"\n"accounts/x/models/c" = "b"', "alias", ("a=b", "accounts/x/models/c=b")),
    ],
)
def test_a_file_may_say(tmp_path: Path, text: str, name: str, value: object) -> None:
    assert gather(tmp_path, file=text)[name] == value


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("CROSSETTE_DRAIN_TIMEOUT", "2.5", "drain_timeout", 2.5),
        ("CROSSETTE_EXACT", "false", "exact", False),
        ("CROSSETTE_LIMIT", "7", "limit", 7),
        ("CROSSETTE_ALIAS", "a=b, c=d", "alias", ("a=b", "c=d")),
    ],
)
def test_the_environment_may_say(tmp_path: Path, variable: str, text: str, name: str, value: object) -> None:
    assert gather(tmp_path, environ={variable: text})[name] == value


# --- mistakes ---


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"file": "prot = 1"}, ["crossette.toml sets 'prot', which is no setting", "Did you mean port?"]),
        ({"file": "xyzzy = 1"}, ["sets 'xyzzy'", "Known: port, alias, level, limit, drain_timeout, exact."]),
        ({"file": "port = 'many'"}, ["port in ", "crossette.toml cannot be 'many'"]),
        ({"file": "drain-timeout = []"}, ["drain-timeout in ", "cannot be []"]),
        ({"file": 'level = "middle"'}, ["level in ", "cannot be 'middle'"]),
        ({"file": "port = "}, ["Can't read the configuration file", "crossette.toml"]),
        ({"environ": {"CROSSETTE_PORT": "many"}}, ["CROSSETTE_PORT cannot be 'many'"]),
        ({"flags": {"drain_timeout": "long"}}, ["--drain-timeout cannot be 'long'"]),
    ],
)
def test_a_mistake_names_its_place_and_the_value(tmp_path: Path, given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        gather(tmp_path, **given)

    assert [word for word in words if word not in str(raised.value)] == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Can't read the configuration file .*nowhere\.toml"):
        config.gather(TABLE, flags={}, environ={}, file=tmp_path / "nowhere.toml")


def test_a_setting_declared_twice_is_our_mistake() -> None:
    with pytest.raises(TypeError, match="port is declared twice"):
        config.table((Here, Here))


# --- the real table ---


def test_every_setting_stands_in_the_help_with_its_variable_and_its_default() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "crossette", "serve", "--help"],
        env=os.environ | {"COLUMNS": "400", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    lines = {line.split()[1]: line for line in shown.splitlines() if line.startswith("│ --")}

    for setting_ in config.table(serve.SECTIONS).values():
        default = "none" if setting_.default in (None, ()) else setting_.default
        assert setting_.type is bool or f" {setting_.metavar} " in lines[setting_.flag]
        assert f"{setting_.help} [env: {setting_.variable}] [default: {default}]" in lines[setting_.flag]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "65536"], "--port cannot be '65536'. It is a whole number, at least 0 and at most 65535."),
        (["--log-level", "loud"], "--log-level cannot be 'loud'. It is one of debug, info, warning, error."),
        (["a", "--model", "b"], "MODEL is 'a' and --model is 'b': give one of them."),
        (["--config", "nowhere.toml"], "Can't read the configuration file nowhere.toml"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(arguments: list[str], words: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "crossette", "serve", *arguments], capture_output=True, text=True, timeout=60
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


MISSPELT = ["1_0", " 10", "10 ", "+10", "010", "\u0661\u0660", "0x10", ""]
"""Texts that `int` reads, and that may mean something else."""


@pytest.mark.parametrize(
    ("flag", "value", "wanted"),
    [
        ("port", "many", "a whole number, at least 0 and at most 65535"),
        ("ledger_days", "0", "a whole number, at least 1 and at most 36500"),
        ("comment_interval", "0", "a number, more than 0 and at most 31536000"),
        ("step_time", "inf", "a number, more than 0 and at most 31536000"),
        *((name, text, "a whole number, at least 1") for name in ("max_messages", "threads") for text in MISSPELT),
        ("max_wait", "nan", "a number, at least 0 and at most 31536000"),
        ("drain_timeout", "inf", "a number, at least 0 and at most 31536000"),
        ("allow_anonymous", "maybe", "true or false"),
        ("log_format", "xml", "one of console, json"),
        ("fireworks_stop", "", "one of include, omit"),
    ],
)
def test_what_a_setting_must_be_is_said_in_words(flag: str, value: str, wanted: str) -> None:
    table = config.table(serve.SECTIONS)

    with pytest.raises(ConfigError) as raised:
        config.gather(table, flags={flag: value}, environ={}, file=None)

    assert str(raised.value) == f"{table[flag].flag} cannot be {value!r}. It is {wanted}."


def test_a_list_in_a_file_must_be_of_texts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"alias in .* cannot be \[1\]\. It is a list of texts\."):
        gather(tmp_path, file="alias = [1]")


def test_flags_replace_a_list_of_the_file_and_add_nothing_to_it(tmp_path: Path) -> None:
    assert gather(tmp_path, file='[alias]\na = "b"', flags={"alias": ["c"]})["alias"] == ("c",)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("nosuchhost.invalid", "--host nosuchhost.invalid is no name or address that is known here"),
        ("a" * 70, "is no name or address that is known here"),
        ("192.0.2.1", "--host 192.0.2.1 is no address of this machine"),
    ],
)
def test_a_host_that_cannot_be_bound_is_named_and_the_port_is_not_blamed(host: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        serve.bind(host, 0)

    assert words in str(raised.value)
    assert "--port" not in str(raised.value)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"Can't listen on 127\.0\.0\.1:{port}: .*Choose another --port"):
            serve.bind("127.0.0.1", port)


def test_aliases_are_names_of_the_served_model_unless_they_say() -> None:
    assert serve.parse_aliases(["a=m", "b", "accounts/x/models/c=m"], "default") == {
        "a": "m",
        "b": "default",
        "accounts/x/models/c": "m",
    }
    with pytest.raises(ConfigError, match="has no name"):
        serve.parse_aliases(["=m"], "m")


def test_a_price_of_a_model_that_is_not_served_is_refused(tmp_path: Path) -> None:
    environ = {"CROSSETTE_DATABASE_URL": f"sqlite:///{tmp_path}/crossette.db", "CROSSETTE_PRICE": "other=1/1/1"}
    values = config.gather(config.table(serve.SECTIONS), flags={}, environ=environ, file=None)

    with (
        open_store(config.fill(StoreSettings, values)) as store,
        closing(serve.bind("127.0.0.1", 0)) as listener,
        pytest.raises(ConfigError, match=r"--price names 'other', which is not served\. Served: fake\."),
    ):
        serve.build_app(FakeEngine(), values, store, listener)  # type: ignore[arg-type]  # any engine does
