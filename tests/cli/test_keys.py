"""The commands `crossette keys` and `crossette usage`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from crossette.accounts.access import Limits
from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import Key, Keys, hash_of
from crossette.accounts.database.rows import insert_rows, row_of
from crossette.accounts.ledger import UsageRow
from crossette.accounts.prices import Price
from crossette.cli import main as cli
from crossette.errors import CrossetteError
from crossette.types import Usage
from support.ledger_entries import make_entry


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the database that the commands use."""
    url = f"sqlite:///{tmp_path}/crossette.db"
    monkeypatch.setenv("CROSSETTE_DATABASE_URL", url)
    return url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url)
    made.migrate()
    yield made
    made.close()


def crossette(*arguments: str) -> tuple[str, str]:
    """Run a command. Returns standard output and standard error. Raises the errors that `main` would print."""
    ended = CliRunner().invoke(cli.app, arguments)
    if isinstance(ended.exception, CrossetteError):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return ended.stdout, ended.stderr


def only_key(database: Database) -> Key:
    (key,) = Keys(database).list()
    return key


# --- keys ---


def test_standard_output_has_the_key_only(database: Database) -> None:
    out, err = crossette("keys", "create", "alice")

    key = only_key(database)
    assert key.matches(out.removesuffix("\n"), datetime.now(UTC))
    assert err == f"{key.id} (alice). The key is shown only this once:\n"


def test_every_limit_has_a_flag(database: Database) -> None:
    names = [field.name for field in dataclasses.fields(Limits)]
    flags = [text for index, name in enumerate(names) for text in ("--" + name.replace("_", "-"), str(index + 1))]

    crossette("keys", "create", "alice", "--admin", "--model", "a", "--model", "b", "--expires", "2999-01-01", *flags)

    key = only_key(database)
    assert key.limits == Limits(**{name: index + 1 for index, name in enumerate(names)})
    assert (key.is_admin, key.models, key.expires_at) == (True, frozenset("ab"), datetime(2999, 1, 1, tzinfo=UTC))


def test_a_key_is_listed_with_its_permissions_and_never_with_its_text(database: Database) -> None:
    text = crossette("keys", "create", "alice", "--model", "a", "--total-tokens", "7")[0].strip()
    crossette("keys", "create", "[bold]boss", "--admin")

    listed = crossette("keys", "list")[0]

    _, alice, boss = (line.split() for line in listed.splitlines())
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert alice[1:] == ["alice", "active", today, "never", "a", "total_tokens=7"]
    assert boss[1:] == ["[bold]boss", "active", "admin", today, "never", "all", "none"]
    assert text.rpartition("-")[2] not in listed


def test_keys_are_listed_as_json(database: Database) -> None:
    assert json.loads(crossette("keys", "list", "--json")[0]) == []
    text = crossette("keys", "create", "alice", "--model", "b", "--model", "a", "--total-tokens", "7")[0].strip()
    crossette("keys", "create", "boss", "--admin", "--expires", "2999-01-01")
    crossette("keys", "revoke", "boss")

    listed = crossette("keys", "list", "--json")[0]

    alice, boss = json.loads(listed)
    assert (alice["name"], alice["state"], alice["is_admin"], alice["models"]) == ("alice", "active", False, ["a", "b"])
    assert alice["limits"] == dataclasses.asdict(Limits(total_tokens=7))
    assert (alice["expires_at"], alice["revoked_at"]) == (None, None)
    assert (boss["state"], boss["is_admin"], boss["models"]) == ("revoked", True, None)
    assert datetime.fromisoformat(boss["expires_at"]) == datetime(2999, 1, 1, tzinfo=UTC)
    assert text.rpartition("-")[2] not in listed


def test_a_limit_that_is_too_large_to_be_exact_is_rejected(database: Database) -> None:
    crossette("keys", "create", "alice", "--total-tokens", str(2**53))
    ended = CliRunner().invoke(cli.app, ["keys", "create", "bob", "--total-tokens", str(2**53 + 1)])

    assert ended.exit_code == 2
    assert only_key(database).limits.total_tokens == 2**53


def test_a_note_states_that_model_names_are_not_validated(database: Database) -> None:
    assert "Model names are not validated here" in crossette("keys", "create", "alice", "--model", "nothing")[1]


def test_an_empty_list_explains_what_it_means(database: Database) -> None:
    assert crossette("keys", "list")[0].startswith("No keys: the server accepts requests without a key.")


def test_rotating_shows_a_new_secret_and_the_old_one_may_overlap(database: Database) -> None:
    old = crossette("keys", "create", "alice")[0].strip()

    new = crossette("keys", "rotate", "alice", "--overlap", "1h")[0].strip()

    key, now = only_key(database), datetime.now(UTC)
    assert new != old
    assert (key.matches(old, now), key.matches(new, now), key.hash) == (True, True, hash_of(new))


def test_an_update_keeps_what_no_option_names(database: Database) -> None:
    text = crossette("keys", "create", "alice", "--model", "a", "--total-tokens", "7", "--expires", "2999-01-01")[0]

    out, err = crossette("keys", "update", "alice", "--requests-per-minute", "5")

    key = only_key(database)
    assert key.matches(text.strip(), datetime.now(UTC))
    assert key.limits == Limits(total_tokens=7, requests_per_minute=5)
    assert (key.models, key.expires_at, key.is_admin) == (frozenset("a"), datetime(2999, 1, 1, tzinfo=UTC), False)
    assert out.startswith(f"{key.id} (alice) is updated:\n")
    assert "requests_per_minute=5, total_tokens=7" in out
    assert err == ""


def test_an_update_removes_limits_and_restrictions(database: Database) -> None:
    names = [field.name for field in dataclasses.fields(Limits)]
    flags = ["--" + name.replace("_", "-") for name in names]
    crossette("keys", "create", "alice", "--admin", "--model", "a", "--expires", "2999-01-01", *_with(flags, "3"))

    crossette("keys", "update", "alice", "--expires", "never", "--all-models", "--no-admin", *_with(flags[1:], "none"))

    key = only_key(database)
    assert key.limits == Limits(**{names[0]: 3})
    assert (key.models, key.expires_at, key.is_admin) == (None, None, False)


def _with(flags: list[str], value: str) -> list[str]:
    return [text for flag in flags for text in (flag, value)]


def test_an_update_renames_a_key_and_replaces_its_models(database: Database) -> None:
    crossette("keys", "create", "alice", "--model", "a")

    err = crossette("keys", "update", "alice", "--name", "bob", "--model", "b", "--model", "c", "--admin")[1]

    key = only_key(database)
    assert (key.name, key.models, key.is_admin) == ("bob", frozenset("bc"), True)
    assert "Model names are not validated here" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Nothing to change. Give at least one option"),
        (["--model", "a", "--all-models"], "--model and --all-models exclude each other"),
        (["--expires", "soon"], "--expires: 'soon' is not a time"),
        (["--total-tokens", "0"], "0 is not at least 1"),
        (["--total-tokens", "all"], "'all' is not an integer"),
        (["--total-tokens", "None"], "'None' is not an integer"),
    ],
)
def test_an_invalid_update_is_an_invalid_command_line(database: Database, arguments: list[str], message: str) -> None:
    crossette("keys", "create", "alice")
    before = only_key(database)

    ended = CliRunner().invoke(cli.app, ["keys", "update", "alice", *arguments])

    assert (ended.exit_code, ended.stdout) == (2, "")
    assert message in ended.stderr
    assert only_key(database) == before


def test_revoking_prints_the_key(database: Database) -> None:
    crossette("keys", "create", "alice")
    key = only_key(database)

    assert crossette("keys", "revoke", key.id)[0] == f"{key.id} (alice) is revoked.\n"
    assert only_key(database).state(datetime.now(UTC)) == "revoked"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["keys", "revoke", "a"], r"No active key is named 'a'\. Keys: none\."),
        (["keys", "list", "--database-url", "mysql://x/y"], "--database-url cannot begin with mysql://"),
    ],
)
def test_an_invalid_argument_is_an_error_of_one_sentence(url: str, arguments: list[str], message: str) -> None:
    with pytest.raises(CrossetteError, match=message):
        crossette(*arguments)


def test_the_configuration_file_of_the_server_applies_here_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROSSETTE_DATABASE_URL")
    file = tmp_path / "crossette.toml"
    file.write_text(f"[server]\nport = 1\n[accounts]\ndatabase_url = 'sqlite:///{tmp_path}/other.db'\n")

    crossette("keys", "create", "alice", "--config", str(file))

    assert only_key(Database(f"sqlite:///{tmp_path}/other.db")).name == "alice"


# --- usage ---


@pytest.fixture
def used(database: Database) -> Key:
    """The usage of a key with two requests, and one request without a key."""
    key, _ = Keys(database).create("alice")
    entries = [
        make_entry(10, 5, key_id=key.id),
        make_entry(1, 2, key_id=key.id, status=400),
        make_entry(key_id="", usage=Usage(7, 1, cached_tokens=3)),
    ]
    with database.write() as connection:
        insert_rows(connection, [row_of(entry, {}) for entry in entries])
    return key


def test_usage_is_a_table(used: Key) -> None:
    lines = [line.split() for line in crossette("usage")[0].splitlines()]

    assert lines == [
        ["key", "model", "requests", "errors", "prompt", "cached", "completion", "reasoning", "cost"],
        ["anonymous", "fake", "1", "0", "7", "3", "1", "0"],
        ["alice", f"({used.id})", "fake", "2", "1", "11", "0", "7", "0"],
    ]


def test_requests_with_unknown_models_are_one_line_of_the_table(database: Database) -> None:
    entries = [make_entry(0, 0, model=name, is_served=False, status=404) for name in ("made", "up", "")]
    with database.write() as connection:
        insert_rows(connection, [row_of(entry, {}) for entry in entries])

    _, line = crossette("usage", "--by", "model")[0].splitlines()
    assert line.split()[:3] == ["(none)", "3", "3"]
    assert json.loads(crossette("usage", "--by", "model", "--json")[0])["data"][0]["model"] == ""


def test_client_input_does_not_control_the_terminal(database: Database) -> None:
    entry = make_entry(model="m\x1b]0;owned\x07\nline", status=404)
    with database.write() as connection:
        insert_rows(connection, [row_of(entry, {})])

    _, line = crossette("usage", "--by", "model")[0].splitlines()
    assert line.split()[0] == r"m\x1b]0;owned\x07\x0aline"


def test_usage_is_json(used: Key) -> None:
    output = json.loads(crossette("usage", "--by", "day,key", "--json")[0])

    assert output["object"] == "list"
    assert [(row["key_name"], row["day"], row["model"], row["requests"]) for row in output["data"]] == [
        (None, "2026-11-23", None, 1),
        ("alice", "2026-11-23", None, 2),
    ]


def test_usage_is_csv(used: Key) -> None:
    head, *rows = crossette("usage", "--csv")[0].splitlines()

    assert head == (
        "key,key_name,model,day,requests,errors,prompt_tokens,cached_tokens,completion_tokens,reasoning_tokens,cost"
    )
    assert rows == [",,fake,,1,0,7,3,1,0,", f"{used.id},alice,fake,,2,1,11,0,7,0,"]


def test_costs_have_no_rounding_errors_of_floats(database: Database) -> None:
    entries = [make_entry(1, 0, key_id="") for _ in range(3)]
    with database.write() as connection:
        insert_rows(connection, [row_of(entry, {"fake": Price(0.1, 0, 0)}) for entry in entries])

    output = crossette("usage", "--json")[0]

    assert sum([0.1 / 1e6] * 3) != 3e-7
    assert '"cost": 3e-07' in output
    assert crossette("usage", "--csv")[0].endswith(",3e-07\n")


def test_the_api_returns_costs_to_twelve_digits_too() -> None:
    row = UsageRow("a", "alice", None, None, 1, 0, 1, 0, 1, 0, 3.8400000000000005e-05)

    assert json.loads(msgspec.json.encode(row))["cost"] == 3.84e-05


def test_since_excludes_earlier_requests(used: Key) -> None:
    assert json.loads(crossette("usage", "--since", "2026-11-24", "--json")[0])["data"] == []
