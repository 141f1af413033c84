"""Settings from four sources, and errors that name the source."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from crossette import config
from crossette.accounts.open import open_accounts
from crossette.api.models import ServedModels
from crossette.errors import ConfigError
from crossette.pool.pool import ModelPool
from crossette.server import build, settings
from crossette.server.listener import bind
from crossette.settings import setting
from crossette.testing.fake_engine import FakeEngine


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


SECTIONS = {"here": Here, "there": There}


def load(
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
    return config.load(SECTIONS, flags=flags, environ=environ, file=path)


# --- precedence ---

FILE, ENVIRON, FLAGS = "[here]\nport = 2", {"CROSSETTE_PORT": "3"}, {"port": "4"}


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
    assert load(tmp_path, **given)["here"].port == expected


def test_settings_not_given_have_their_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, file="[here]\nport = 2") == {"here": Here(port=2), "there": There()}


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("[here]\nlimit = 5", Here(limit=5)),
        ("[there]\ndrain-timeout = 2", There(drain_timeout=2.0)),
        ("[there]\ndrain_timeout = 2.5", There(drain_timeout=2.5)),
        ("[there]\nexact = false", There(exact=False)),
        ('[here]\nlevel = "high"', Here(level="high")),
        ('[here]\nalias = ["a=b", "c"]', Here(alias=("a=b", "c"))),
        ('[here.alias]\na = "b"\n"accounts/x/models/c" = "b"', Here(alias=("a=b", "accounts/x/models/c=b"))),
    ],
)
def test_values_of_a_file(tmp_path: Path, text: str, settings: object) -> None:
    assert settings in load(tmp_path, file=text).values()


@pytest.mark.parametrize(
    ("variable", "text", "settings"),
    [
        ("CROSSETTE_DRAIN_TIMEOUT", "2.5", There(drain_timeout=2.5)),
        ("CROSSETTE_EXACT", "false", There(exact=False)),
        ("CROSSETTE_LIMIT", "7", Here(limit=7)),
        ("CROSSETTE_ALIAS", "a=b, c=d", Here(alias=("a=b", "c=d"))),
    ],
)
def test_values_of_the_environment(tmp_path: Path, variable: str, text: str, settings: object) -> None:
    assert settings in load(tmp_path, environ={variable: text}).values()


# --- errors ---


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ({"file": "[here]\nprot = 1"}, ["sets 'prot' in [here], which is an unknown setting", "Did you mean port?"]),
        ({"file": "[here]\nxyzzy = 1"}, ["sets 'xyzzy' in [here]", "Known: port, alias, level, limit."]),
        ({"file": "[here]\nexact = true"}, ["sets 'exact' in [here]. Move it to [there]."]),
        ({"file": "port = 1"}, ["crossette.toml sets 'port' outside a section. Move it to [here]."]),
        ({"file": "[port]\na = 1"}, ["sets 'port' outside a section. Move it to [here]."]),
        ({"file": "here = 1"}, ["has an unknown section 'here'"]),
        ({"file": "[ther]"}, ["has an unknown section 'ther'. Did you mean there?"]),
        ({"file": "[xyzzy]"}, ["has an unknown section 'xyzzy'. Known: [here], [there]."]),
        ({"file": "[here]\nport = 'many'"}, ["port in [here] of ", "crossette.toml cannot be 'many'"]),
        ({"file": "[there]\ndrain-timeout = []"}, ["drain-timeout in ", "cannot be []"]),
        ({"file": '[here]\nlevel = "middle"'}, ["level in ", "cannot be 'middle'"]),
        ({"file": "[here]\nport = "}, ["Can't read the configuration file", "crossette.toml"]),
        ({"environ": {"CROSSETTE_PORT": "many"}}, ["CROSSETTE_PORT cannot be 'many'"]),
        ({"flags": {"drain_timeout": "long"}}, ["--drain-timeout cannot be 'long'"]),
    ],
)
def test_an_error_names_its_source_and_the_value(tmp_path: Path, given: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, **given)

    assert [text for text in messages if text not in str(raised.value)] == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Can't read the configuration file .*nowhere\.toml"):
        config.load(SECTIONS, file=tmp_path / "nowhere.toml")


def test_a_setting_declared_twice_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="port is declared twice"):
        config.table({"here": Here, "there": Here})


# --- the real settings ---


@pytest.mark.slow
def test_help_lists_every_setting_with_its_variable_and_default() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "crossette", "serve", "--help"],
        env=os.environ | {"COLUMNS": "400", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    shown = "".join(shown.split())  # lines may break after a hyphen

    for setting_ in config.table(settings.SECTIONS).values():
        value = f" / --no-{setting_.flag[2:]}" if setting_.type is bool else f" {setting_.metavar}"
        help = f"{setting_.help} [env: {setting_.variable}] [default: {setting_.shown_default}]"
        assert "".join(f"{setting_.flag}{value}{help}".split()) in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--port", "65536"], 2, "--port cannot be '65536'. It must be an integer, at least 0 and at most 65535."),
        (["--log-level", "loud"], 2, "--log-level cannot be 'loud'. It must be one of debug, info, warning, error."),
        (["a", "--model", "b"], 2, "MODEL is 'a' and --model is 'b'. Give one of them."),
        (["--config", "nowhere.toml"], 1, "Can't read the configuration file nowhere.toml"),
    ],
)
def test_an_error_on_the_command_line_is_one_sentence(arguments: list[str], status: int, message: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "crossette", "serve", *arguments], capture_output=True, text=True, timeout=60
    )

    assert (ended.returncode, ended.stdout) == (status, "")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


AMBIGUOUS = ["1_0", " 10", "10 ", "+10", "010", "\u0661\u0660", "0x10", ""]
"""Texts that `int` accepts, but that may mean something else."""


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("port", "many", "an integer, at least 0 and at most 65535"),
        ("ledger_days", "0", "an integer, at least 1 and at most 36500"),
        ("comment_interval", "0", "a number, more than 0 and at most 31536000"),
        ("step_time", "inf", "a number, more than 0 and at most 31536000"),
        *((name, text, "an integer, at least 1") for name in ("max_messages", "threads") for text in AMBIGUOUS),
        ("max_wait", "nan", "a number, at least 0 and at most 31536000"),
        ("drain_timeout", "inf", "a number, at least 0 and at most 31536000"),
        ("allow_anonymous", "maybe", "true or false"),
        ("log_format", "xml", "one of console, json"),
        ("fireworks_stop", "", "one of include, omit"),
    ],
)
def test_an_error_describes_the_valid_values(flag: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings.load_settings({flag: value})

    assert str(raised.value) == f"--{flag.replace('_', '-')} cannot be {value!r}. It must be {expected}."


def test_a_list_in_a_file_must_be_of_strings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"alias in .* cannot be \[1\]\. It must be a list of strings\."):
        load(tmp_path, file="[here]\nalias = [1]")


def test_flags_replace_a_list_of_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, file='[here.alias]\na = "b"', flags={"alias": ["c"]})["here"].alias == ("c",)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("nosuchhost.invalid", "--host nosuchhost.invalid is not a known hostname or address"),
        ("a" * 70, "is not a known hostname or address"),
        ("192.0.2.1", "--host 192.0.2.1 is not an address of this machine"),
    ],
)
def test_the_error_for_a_host_that_cannot_be_bound_names_the_host_and_not_the_port(host: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        bind(host, 0)

    assert message in str(raised.value)
    assert "--port" not in str(raised.value)


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"Can't listen on 127\.0\.0\.1:{port}: .*Choose another --port"):
            bind("127.0.0.1", port)


def test_a_price_of_a_model_that_is_not_served_is_rejected(tmp_path: Path) -> None:
    environ = {"CROSSETTE_DATABASE_URL": f"sqlite:///{tmp_path}/crossette.db", "CROSSETTE_PRICE": "other=1/1/1"}
    loaded = settings.load_settings(environ=environ)

    with (
        open_accounts(loaded.accounts) as store,
        pytest.raises(ConfigError, match=r"--price names 'other', which is not served\. Served: fake\."),
    ):
        build.build_app(ServedModels(ModelPool.of({"fake": FakeEngine()})), loaded, store, "127.0.0.1")


@pytest.mark.parametrize(("text", "hours"), [("1h", 1), ("30d", 720)])
def test_responses_are_stored_for_a_duration(text: str, hours: int) -> None:
    loaded = settings.load_settings(environ={"CROSSETTE_STORE_RESPONSES": text})

    assert build.stored_for(loaded) == timedelta(hours=hours)
    assert build.stored_for(settings.load_settings(environ={})) is None


@pytest.mark.parametrize("text", ["0d", "30", "99999d", "for ever"])
def test_another_duration_of_stored_responses_is_rejected(text: str) -> None:
    loaded = settings.load_settings(environ={"CROSSETTE_STORE_RESPONSES": text})

    with pytest.raises(ConfigError, match="--store-responses"):
        build.stored_for(loaded)
