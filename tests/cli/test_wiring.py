"""The settings of the command line take effect: a real server process, and another one after its end."""

from __future__ import annotations

import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import trustme

from crossette.models.store import StoredModel
from server.test_serve import LIMIT_S, serving


class Client:
    """A client of one server over HTTPS, with several keys."""

    def __init__(self, client: httpx.Client, model: str) -> None:
        self.client = client
        self.body = {"model": model, "prompt": "Once upon a time", "max_tokens": 4, "ignore_eos": True}

    def post(self, key: str) -> httpx.Response:
        return self.client.post("/v1/completions", json=self.body, headers={"x-api-key": key})

    @contextmanager
    def long_work(self, key: str, num_choices: int) -> Iterator[None]:
        """A running request with so many choices, the first of which has begun."""
        more = {"n": num_choices, "max_tokens": 300, "stream": True}
        with self.client.stream("POST", "/v1/completions", json=self.body | more, headers={"x-api-key": key}) as answer:
            lines = answer.iter_lines()
            next(lines)
            yield


@contextmanager
def connected(model: StoredModel, authority: trustme.CA, *flags: str) -> Iterator[Client]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        serving(model, *flags) as served,
        httpx.Client(base_url=served.root, verify=context, timeout=LIMIT_S) as client,
    ):
        yield Client(client, served.model)


def make_key(url: str, name: str, *flags: str) -> str:
    command = [sys.executable, "-m", "crossette", "keys", "create", name, *flags, "--database-url", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout.strip()


def tls_files(authority: trustme.CA, folder: Path) -> tuple[str, str]:
    issued = authority.issue_cert("127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return str(cert), str(key)


def test_the_flags_of_a_server_and_the_limits_of_its_keys_take_effect(real_model: StoredModel, tmp_path: Path) -> None:
    authority, file = trustme.CA(), tmp_path / "crossette.db"
    url = f"sqlite:///{file}"
    cert, private = tls_files(authority, tmp_path)
    often = make_key(url, "often", "--requests-per-minute", "1")
    budget = make_key(url, "budget", "--total-tokens", "8")
    boss = make_key(url, "boss", "--admin")
    flags = (
        *("--database-url", url, "--tls-cert", cert, "--tls-key", private, "--log-content"),
        *("--price", f"{real_model.name}=1000000/1000000/2000000", "--max-sequences", "1", "--max-waiting", "1"),
    )

    with connected(real_model, authority, *flags) as server:
        statuses = [server.post(key).status_code for key in (often, often, budget, budget, boss, "wrong")]
        assert statuses == [200, 429, 200, 429, 200, 401]
        with server.long_work(boss, num_choices=3):
            crowded = server.post(boss)
    with connected(real_model, authority, *flags) as server:
        after_a_restart = server.post(budget)
        body = server.post(boss).json()

    assert crowded.status_code == 503
    assert "and the limit is 1" in crowded.json()["error"]["message"]
    assert (after_a_restart.status_code, after_a_restart.json()["error"]["code"]) == (429, "insufficient_quota")
    with closing(sqlite3.connect(file)) as connection:
        columns = "prompt_tokens, completion_tokens, cost, request_content, answer_content"
        rows = connection.execute(f"SELECT {columns} FROM requests WHERE status = 200 ORDER BY id").fetchall()
    last = next(row for row in rows if row[4] and body["id"] in row[4])
    assert last[:3] == (body["usage"]["prompt_tokens"], 4, body["usage"]["prompt_tokens"] + 2 * 4)
    assert '"prompt":"Once upon a time"' in last[3]


def test_the_stored_responses_of_a_key_outlive_the_server(real_model: StoredModel, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/crossette.db"
    ann, bob = make_key(url, "ann"), make_key(url, "bob")
    flags = ("--database-url", url, "--store-responses", "1h", "--skip-builtin-tools")
    sent = {"model": real_model.name, "input": "Once upon a time", "max_output_tokens": 4, "ignore_eos": True}

    def ask(server: httpx.Client, key: str, **more: object) -> httpx.Response:
        return server.post("/v1/responses", json={**sent, **more}, headers={"x-api-key": key})

    def get(server: httpx.Client, key: str, response_id: str) -> httpx.Response:
        return server.get(f"/v1/responses/{response_id}", headers={"x-api-key": key})

    with serving(real_model, *flags) as served, httpx.Client(base_url=served.root, timeout=LIMIT_S) as server:
        first = ask(server, ann, tools=[{"type": "web_search"}])
        assert first.headers["x-crossette-skipped-tools"] == "web_search"
        running = ask(server, ann, background=True, max_output_tokens=4000).json()
    with serving(real_model, *flags) as served, httpx.Client(base_url=served.root, timeout=LIMIT_S) as server:
        assert get(server, ann, first.json()["id"]).json() == first.json()
        assert get(server, bob, first.json()["id"]).status_code == 404
        assert ask(server, ann, previous_response_id=first.json()["id"]).status_code == 200
        ended = get(server, ann, running["id"]).json()
    with serving(real_model, *flags[:2]) as served, httpx.Client(base_url=served.root, timeout=LIMIT_S) as server:
        assert get(server, ann, first.json()["id"]).status_code == 400

    assert (running["status"], ended["status"]) == ("queued", "failed")
    assert ended["error"]["message"] == "The server was shut down."
