"""What earlier versions left is taken by this one, and they may go on beside it: docs/versions.md."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

import crossette.accounts.database
from crossette.accounts.database.database import Database
from support.installed import LIMIT_S, served
from support.postgres import Cluster, cluster
from support.upgrade_data import FLAGS, KEPT, MODEL, execute, usage_of

FIRST_RELEASE = 5
"""The revision of 0.1.0. Migrations after it only add."""
MIGRATIONS = Path(crossette.accounts.database.__path__[0]) / "migrations/versions"
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


def revisions() -> dict[int, str]:
    sources = [file.read_text(encoding="utf-8") for file in MIGRATIONS.glob("*.py")]
    return {int(re.findall(r'^revision = "(\d+)"$', source, re.MULTILINE)[0]): source for source in sources}


_ADDING = r"\W*(n?CREATE (FUNCTION|TRIGGER)|INSERT|UPDATE|ALTER TABLE \w+ SET \(fillfactor = \d+\))(?!\w)"
"""How SQL begins that a server of the version before survives. New functions and triggers have names of their own."""


def removals(source: str) -> list[str]:
    """The operations of a migration that a server of the version before would not survive."""
    tree = ast.parse(source)
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return [fault for call in ast.walk(tree) if isinstance(call, ast.Call) for fault in _faults(call, constants)]


def _faults(call: ast.Call, constants: Mapping[str, ast.expr]) -> Iterator[str]:
    name = ast.unparse(call.func)
    keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if name == "op.add_column":
        column = call.args[1]
        assert isinstance(column, ast.Call), "write the column where it is added"
        given = {word.arg: ast.unparse(word.value) for word in column.keywords}
        if given.get("nullable") == "False" and "server_default" not in given:
            yield f"{ast.unparse(column.args[0])} has no server_default"
    elif name == "op.create_index" and keywords.get("unique", "False") != "False":
        yield f"{ast.unparse(call.args[0])} is unique"
    elif name == "op.execute":
        statement = call.args[0]
        if isinstance(statement, ast.Name):
            statement = constants.get(statement.id, statement)
        if not re.match(_ADDING, ast.unparse(statement).lstrip("f")):
            yield f"{ast.unparse(call)[:40]} does not only add"
    elif name.startswith("op.") and name not in ("op.create_table", "op.create_index", "op.get_bind"):
        yield f"{name} changes what is there"


def test_migrations_after_the_first_release_only_add() -> None:
    later = {number: removals(source) for number, source in revisions().items() if number > FIRST_RELEASE}

    assert sorted(revisions()) == list(range(1, FIRST_RELEASE + len(later) + 1)), "revisions are numbered in order"
    assert {number: found for number, found in later.items() if found} == {}


@pytest.mark.parametrize(
    "operation",
    [
        "op.drop_column('keys', 'name')",
        "op.rename_table('keys', 'all_keys')",
        "op.alter_column('keys', 'name', nullable=False)",
        "op.add_column('keys', sa.Column('team', sa.String, nullable=False))",
        "op.create_index('keys_name', 'keys', ['name'], unique=True)",
        "op.execute('DELETE FROM keys')",
        "op.execute(f'ALTER TABLE {x} DROP COLUMN y')",
        "DROP = 'DROP TABLE keys'\nop.execute(DROP)",
        "op.execute(unknown)",
    ],
)
def test_what_does_not_only_add_is_found(operation: str) -> None:
    assert len(removals(operation)) == 1


@pytest.mark.parametrize(
    "operation",
    [
        "op.add_column('keys', sa.Column('team', sa.String))",
        "op.add_column('keys', sa.Column('team', sa.String, nullable=False, server_default=''))",
        "op.create_index('keys_name', 'keys', ['name'])",
        "op.execute(f'UPDATE keys SET team = {x}')",
        "op.execute('ALTER TABLE keys SET (fillfactor = 50)')",
        "NEW = '\\nCREATE FUNCTION new() RETURNS int'\nop.execute(NEW)",
    ],
)
def test_what_only_adds_is_allowed(operation: str) -> None:
    assert removals(operation) == []
