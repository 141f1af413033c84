"""Invalid URLs: wherever a URL is accepted, the error is one sentence and never a stack trace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.accounts.database.database import Database
from crossette.cli import main as cli
from crossette.client.remote import ServerURL
from crossette.errors import ConfigError
from crossette.observability.tracing import traces_url
from crossette.urls import split_http, split_url

Capture = pytest.CaptureFixture[str]

INVALID = {
    "": "host is missing",
    "http://": "host is missing",
    "http:///v1": "host is missing",
    "http://:80": "host is missing",
    "://x": "host is missing",
    "http://[::1": "not enclose an IPv6 address",
    "http://::1]": "IPv6|other than a port",
    "http://[zz]": "not enclose an IPv6 address",
    "http://[::1]x": "other than a port|not enclose an IPv6",
    "http://user:secret@[::1": "not enclose an IPv6 address",
    "http://host:99999": "between 1 and 65535",
    "http://host:0": "between 1 and 65535",
    "http://host:abc": "other than a port",
    "http://host:-1": "other than a port",
    "http://host:1_0": "other than a port",
    "http://host:\u0663": "other than a port",
    "http://host:": "other than a port",
    "http://host: 80": "blanks",
    "http://a b": "blanks",
    " http://host": "blanks",
    "http://ho\nst": "blanks",
    "http://ho\tst": "blanks",
    "http://host\u200b": "blanks",
    "http://ho..st": "neither a name",
    "http://" + "a" * 64: "neither a name",
    "http://xn--a": "neither a name",
    "http://%zz": "neither a name",
    "http://a\\b": "neither a name",
}
"""Invalid URLs of servers, and a pattern of the reason."""


def run(*arguments: str) -> int:
    """Run a command and return its exit code."""
    sys.argv = ["crossette", *arguments]
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code if isinstance(ended.value.code, int) else -1


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root_logger: None) -> None:
    """Isolate the tests from the user's files and log configuration."""
    monkeypatch.setenv("CROSSETTE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [])


CLIENTS = [
    ["status", "--once", "--url"],
    ["bench", "-n", "1", "--model", "m", "--url"],
    ["chat", "--url"],
]
COMMANDS = [
    ["serve", "--port", "0", "--otlp-endpoint"],
    ["serve", "--port", "0", "--cors-origin"],
    ["serve", "--port", "0", "--allowed-host"],
    ["serve", "--port", "0", "--database-url"],
    ["keys", "list", "--database-url"],
    ["usage", "--database-url"],
]


@pytest.mark.parametrize("url", INVALID)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command[0]} {command[-1]}")
def test_an_invalid_url_is_an_error_of_one_sentence_that_names_its_flag(
    command: list[str], url: str, capsys: Capture
) -> None:
    assert run(*command, url) == 1

    output = capsys.readouterr()
    (sentence,) = output.err.splitlines()
    assert sentence.startswith("Error: ") and command[-1] in sentence
    assert output.out == ""


@pytest.mark.parametrize("url", INVALID)
@pytest.mark.parametrize("command", CLIENTS, ids=lambda command: command[0])
def test_an_invalid_url_of_a_client_is_an_invalid_command_line(command: list[str], url: str, capsys: Capture) -> None:
    assert run(*command, url) == 2

    output = capsys.readouterr()
    usage, _, _, sentence = output.err.splitlines()
    assert usage.startswith("Usage: ") and sentence.startswith("Error: --url must be the URL of a server")
    assert output.out == ""


@pytest.mark.parametrize(("url", "reason"), [*INVALID.items(), ("ftp://host", "neither http:// nor https://")])
def test_an_error_has_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        split_http(url)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://localhost:8000", "localhost", 8000),
        ("https://user:secret@api.example/v1?a=b", "api.example", None),
        ("http://[::1]:8000/", "::1", 8000),
        ("http://[fe80::1%25eth0]", "fe80::1%25eth0", None),
        ("http://127.1", "127.1", None),
        ("http://my_box.:080", "my_box.", 80),
        ("http://b\u00fccher.example", "b\u00fccher.example", None),
    ],
)
def test_valid_urls_are_accepted(url: str, host: str, port: int | None) -> None:
    parts = split_http(url)

    assert (parts.hostname, parts.port) == (host, port)


@given(st.text(st.sampled_from("htps:/[]@.%19a\u0663 \n\\?#") | st.characters(), max_size=25))
def test_any_text_is_a_url_or_rejected_with_a_reason(text: str) -> None:
    for given_ in (text, f"http://{text}"):
        try:
            parts = split_url(given_)
        except ValueError as error:
            assert str(error)
        else:
            assert parts.hostname and (parts.port is None or 0 < parts.port < 2**16)
            assert parts.geturl().lower().startswith(given_.partition(":")[0].lower())
        for parse in (ServerURL.parse, traces_url):
            try:
                parse(given_)
            except ConfigError as error:
                assert len(str(error).splitlines()) == 1


# --- URLs of databases ---


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ho..st/x",
        "postgresql://a b/x",
        "postgresql://a\nb/x",
        "postgresql://[::1",
        "postgresql://[::1]x/y",
        "postgresql://[zz]/y",
        "postgresql://host:1_0/x",
        "postgresql://host: 1/x",
        "postgresql://host:\u0663/x",
        "postgresql://host:0543/x",
        "postgresql://host:-5/x",
        "postgresql://host:0/x",
        "postgresql://host:99999/x",
        "sqlite://data/keys.db",
        "sqlite:///keys.db?mode=ro",
        "sqlite:///file:keys?mode=memory",
        "sqlite:///a\0b",
        "sqlite:///:memory:",
    ],
)
def test_an_ambiguous_database_url_is_rejected(url: str) -> None:
    with pytest.raises(ConfigError, match="--database-url"):
        Database(url)


@pytest.mark.parametrize("url", ["postgresql://me:hunter2@[::1", "postgresql://me:hun@ter2@a b/x"])
def test_an_invalid_database_url_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Database(url)

    assert "ter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:p%40ss@db.example/x", "db.example/x"),
        ("postgresql://[::1]:5433/x", "[::1]:5433/x"),
        ("postgresql:///x?host=/run/postgresql", "/x?host=%2Frun%2Fpostgresql"),
        ("postgresql://my_box:5432", "my_box:5432"),
        ("sqlite:////srv/a b/\u00fc.db", "/srv/a b/\u00fc.db"),
    ],
)
def test_valid_database_urls(url: str, shown: str) -> None:
    database = Database(url)

    assert str(database).endswith(shown)
    database.close()


def test_an_invalid_host_in_the_parameters_of_a_database_is_an_error(capsys: Capture) -> None:
    assert run("keys", "list", "--database-url", "postgresql:///x?host=ho..st") == 1

    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("Error: Can't read postgresql+psycopg:///x?host=ho..st: ")
