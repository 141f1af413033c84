"""What earlier versions left is taken by this one, and they may go on beside it: docs/versions.md."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from crossette.accounts.database.database import Database
from support.installed import LIMIT_S, served
from support.postgres import Cluster, cluster
from support.upgrade_data import FLAGS, KEPT, MODEL, execute, usage_of

FIRST_RELEASE = 5
"""The revision of 0.1.0. Migrations after it only add."""
VERSIONS = sorted(folder.name for folder in KEPT.iterdir())


@pytest.fixture(scope="module")
def postgres() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.all)])
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def empty(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/crossette.db"
    running: Cluster = request.getfixturevalue("postgres")
    return running.emptied()


@pytest.mark.model
@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_takes_the_database_and_the_models_of_a_version(
    version: str, kind: str, empty: str, tmp_path: Path
) -> None:
    left = KEPT / version
    shutil.copytree(left / "models", tmp_path / "models")
    if kind == "sqlite":
        shutil.copy(left / "crossette.db", tmp_path / "crossette.db")
    else:
        execute(empty, (left / "crossette.sql").read_text(encoding="utf-8"))
    known = json.loads((left / "known.json").read_text(encoding="utf-8"))[kind]

    rows = usage_of(empty, tmp_path)["data"]
    assert [now.items() >= before.items() for now, before in zip(rows, known["usage"]["data"], strict=True)] == [True]
    command = [sys.executable, "-m", "crossette", "serve", MODEL, "--database-url", empty, *FLAGS]
    with (
        served(command, tmp_path, CROSSETTE_HOME=str(tmp_path)) as server,
        httpx.Client(base_url=f"{server.root}/v1", timeout=LIMIT_S) as client,
    ):
        assert_known(client, known)
        body = {"model": MODEL, "prompt": "Once", "max_tokens": 4, "ignore_eos": True}
        statuses = [ask(client, key, "/completions", body).status_code for key in known["keys"].values()]

    assert dict(zip(known["keys"], statuses, strict=True)) == {"ann": 200, "boss": 200, "gone": 401}


def ask(client: httpx.Client, key: str, path: str, body: Any = None) -> httpx.Response:
    return client.request("POST" if body else "GET", path, json=body, headers={"x-api-key": key})


def assert_known(client: httpx.Client, known: dict[str, Any]) -> None:
    """What a client stored is unchanged: fields may have been added, but none removed."""
    ann, response, batch = known["keys"]["ann"], known["response"], known["batch"]

    assert ask(client, ann, f"/responses/{response['id']}").json().items() >= response.items()
    assert ask(client, ann, f"/batches/{batch['id']}").json().items() >= batch.items()
    output = ask(client, ann, f"/files/{batch['output_file_id']}/content").text
    assert [json.loads(line)["custom_id"] for line in output.splitlines()] == ["1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_of_a_version_writes_rows_after_the_migration(version: str, empty: str) -> None:
    """Its statements name the columns it knows: all others must have defaults."""
    dump = (KEPT / version / "crossette.sql").read_text(encoding="utf-8")
    inserts = re.findall(r"^INSERT INTO public\.(?!alembic_version)(.*?\));$", dump, re.MULTILINE | re.DOTALL)
    database = Database(empty)
    database.migrate()
    database.close()

    execute(empty, *(f"INSERT INTO {insert}" for insert in inserts))
    assert {insert.split()[0] for insert in inserts} == {
        "keys", "requests", "days", "responses", "files", "file_parts", "batches"
    }  # fmt: skip


_ADDING = re.compile(
    r"(CREATE (TABLE|INDEX|TRIGGER|FUNCTION)|INSERT INTO|UPDATE|SELECT|PRAGMA) "
    r"|ALTER TABLE \w+ (SET \(fillfactor = \d+\)|ADD COLUMN ((?!.* NOT NULL)|(?=.* DEFAULT )))",
    re.DOTALL,
)
"""How the statements begin that a server of the version before survives. A trigger or function has a new name."""


def removals(statements: Sequence[str]) -> list[str]:
    """The statements of migrations that a server of the version before would not survive."""
    return [statement for statement in statements if not _ADDING.match(statement.strip())]


def migrated(url: str) -> dict[int, list[str]]:
    """The statements of each migration, by revision, of an empty database."""
    statements: list[str] = []

    def record(_: Any, __: Any, statement: str, *___: Any) -> None:  # Any: SQLAlchemy's connection, cursor and context
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", record)
    database = Database(url)
    try:
        database.migrate()
    finally:
        event.remove(Engine, "before_cursor_execute", record)
        database.close()
    revisions: dict[int, list[str]] = {}
    of_revision: list[str] = []
    for statement in statements:
        if found := re.match(r"(?:INSERT INTO|UPDATE) alembic_version .*?'(\d+)'", statement):
            revisions[int(found[1])], of_revision = of_revision, []
        else:
            of_revision.append(statement)
    return revisions


def test_migrations_after_the_first_release_only_add(empty: str) -> None:
    found = migrated(empty)
    later = [statement for number, made in found.items() if number > FIRST_RELEASE for statement in made]

    assert sorted(found) == list(range(1, max(found) + 1))
    assert removals(later) == []


def test_the_statements_of_a_migration_are_seen(empty: str) -> None:
    """Those of the third one also delete rows: it was before the first release."""
    (removal,) = removals(migrated(empty)[3])

    assert removal.startswith("DELETE FROM days")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE keys DROP COLUMN name",
        "ALTER TABLE keys RENAME TO all_keys",
        "ALTER TABLE keys ALTER COLUMN name SET NOT NULL",
        "ALTER TABLE keys ADD COLUMN team VARCHAR NOT NULL",
        "CREATE UNIQUE INDEX keys_name ON keys (name)",
        "CREATE OR REPLACE FUNCTION changed() RETURNS trigger",
        "DROP TABLE keys",
        "\n    DELETE FROM keys",
    ],
)
def test_what_does_not_only_add_is_found(statement: str) -> None:
    assert removals([statement]) == [statement]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE keys ADD COLUMN team VARCHAR",
        "ALTER TABLE keys ADD COLUMN team VARCHAR DEFAULT '' NOT NULL",
        "ALTER TABLE keys SET (fillfactor = 50)",
        "\nCREATE TABLE teams (\n\tid VARCHAR NOT NULL, \n\tPRIMARY KEY (id)\n)\n\n",
        "CREATE INDEX keys_name ON keys (name)",
        "\n    CREATE FUNCTION changed() RETURNS trigger",
        "\n    CREATE TRIGGER keys_changed AFTER INSERT ON keys",
        "UPDATE keys SET team = ''",
    ],
)
def test_what_only_adds_is_allowed(statement: str) -> None:
    assert removals([statement]) == []
