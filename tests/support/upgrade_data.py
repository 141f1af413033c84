"""Databases and a store of models as a released version left them, kept in tests/data/upgrade by version.

As a program, writes those of this version, with requests to real servers on SQLite and PostgreSQL:

    PYTHONPATH=tests python -m support.upgrade_data

Run it once, when a version is released that changes a table or the store.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

import httpx
import psycopg

from support.installed import LIMIT_S, ROOT, VERSION, run, served
from support.postgres import cluster
from support.tiny_model import write_tiny_gguf

KEPT = ROOT / "tests/data/upgrade"
MODEL = "tiny"
FLAGS = ("--store-responses", "30d", "--store-files", "30d")
_CLI = (sys.executable, "-m", "crossette")
_FOREVER = (
    "UPDATE responses SET expires_at = '9999-01-01 00:00:00'",
    "UPDATE files SET expires_at = '9999-01-01 00:00:00'",
    "UPDATE batches SET created_at = '9999-01-01 00:00:00'",
)
"""What a server would delete some days later."""


def fill(url: str, home: Path) -> dict[str, Any]:
    """Leave a row in each table by requests to a server; returns what a client of that time knows."""
    keys = {
        name: run([*_CLI, "keys", "create", name, *flags, "--database-url", url], home).strip()
        for name, flags in {"ann": ("--total-tokens", "100000"), "boss": ("--admin",), "gone": ()}.items()
    }
    run([*_CLI, "keys", "revoke", "gone", "--database-url", url], home)
    command = [*_CLI, "serve", MODEL, "--database-url", url, "--price", f"{MODEL}=1/1/1", *FLAGS]
    with (
        served(command, home, CROSSETTE_HOME=str(home)) as server,
        httpx.Client(base_url=f"{server.root}/v1", timeout=LIMIT_S, headers={"x-api-key": keys["ann"]}) as client,
    ):
        body = {"model": MODEL, "prompt": "Once", "max_tokens": 4, "temperature": 0, "ignore_eos": True}
        assert client.post("/completions", json=body).status_code == 200
        asked = {"model": MODEL, "input": "Once", "max_output_tokens": 4, "ignore_eos": True}
        response = client.post("/responses", json=asked).json()
        batch = _run_batch(client, body)
    execute(url, *_FOREVER)
    del batch["created_at"]
    usage = usage_of(url, home)
    return {"keys": keys, "response": response, "batch": batch, "usage": usage}


def _run_batch(client: httpx.Client, body: dict[str, Any]) -> Any:  # Any: JSON
    line = json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/completions", "body": body})
    sent = {"file": ("requests.jsonl", line.encode())}
    file = client.post("/files", files=sent, data={"purpose": "batch"}).json()
    wanted = {"input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": "24h"}
    batch = client.post("/batches", json=wanted).json()
    for _ in range(LIMIT_S * 10):
        found = client.get(f"/batches/{batch['id']}").json()
        if found["status"] == "completed":
            return found
        sleep(0.1)
    raise AssertionError(f"the batch is {found['status']}")


def usage_of(url: str, cwd: Path) -> Any:  # Any: JSON
    return json.loads(run([*_CLI, "usage", "--json", "--database-url", url], cwd))


def execute(url: str, *statements: str) -> None:
    """Run statements in a transaction, without crossette."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
            for statement in statements:
                file.execute(statement)
    else:
        with psycopg.connect(url) as server:
            for statement in statements:
                server.execute(statement.encode())


def statements(dump: str) -> str:
    """The statements of a dump, without those for psql and without settings of one version of PostgreSQL."""
    left_out = re.compile(r"^(\\.*|--.*|SET .*|SELECT pg_catalog\.set_config.*|)\n", re.MULTILINE)
    return left_out.sub("", dump)


def main() -> None:
    folder = KEPT / VERSION
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with TemporaryDirectory() as temporary, cluster() as postgres:
        home = Path(temporary)
        write_tiny_gguf(home / "tiny.gguf", layers=1, width=64, context_length=256)
        run([*_CLI, "pull", "./tiny.gguf"], home, CROSSETTE_HOME=str(home))
        record = home / "models" / MODEL / "crossette.json"
        record.write_text(re.sub(r'"source": ".*"', '"source": "/models/tiny.gguf"', record.read_text()))
        shutil.copytree(home / "models" / MODEL, folder / "models" / MODEL)
        known = {"sqlite": fill(f"sqlite:///{folder}/crossette.db", home), "postgresql": fill(postgres.url, home)}
        dump = ["pg_dump", "--column-inserts", "--no-owner", "--no-privileges", postgres.url]
        printed = subprocess.run(dump, check=True, capture_output=True, encoding="utf-8").stdout
    (folder / "crossette.sql").write_text(statements(printed), encoding="utf-8")
    (folder / "known.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
