"""Two replicas with one PostgreSQL: what is true of one process is true of both together."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from crossette.accounts.access import Limits
from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import Keys
from support.api_server import say
from support.pgbouncer import pgbouncer
from support.postgres import Cluster, cluster
from support.replica_server import ReplicaServer, replicas
from support.waiting import wait_until

pytestmark = pytest.mark.all

LIMIT_S = 60
BODY = {"model": "fake", "prompt": "a", "max_tokens": 2}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.fixture
def url(postgres: Cluster) -> str:
    return postgres.migrated()


def new_key(url: str, name: str = "alice", **limits: int) -> str:
    """The text of a new key."""
    database = Database(url)
    try:
        return Keys(database).create(name, limits=Limits(**limits))[1]
    finally:
        database.close()


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


class Client:
    """Asks replicas in turn."""

    def __init__(self, http: httpx.AsyncClient, replicas: list[ReplicaServer], key: str) -> None:
        self._http = http
        self._replicas = replicas
        self._headers = {"authorization": f"Bearer {key}"}
        self._turn = 0
        self.statuses: Counter[int] = Counter()

    async def post(self, path: str = "completions", **fields: Any) -> httpx.Response:
        self._turn += 1
        root = self._replicas[self._turn % len(self._replicas)].root
        response = await self._http.post(f"{root}/v1/{path}", json={**BODY, **fields}, headers=self._headers)
        self.statuses[response.status_code] += 1
        return response


def keyed(key: str) -> httpx.Client:
    return httpx.Client(timeout=LIMIT_S, verify=False, headers={"authorization": f"Bearer {key}"})


def http_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=LIMIT_S, verify=False, limits=httpx.Limits(max_connections=64))


def test_requests_per_minute_hold_in_sum_under_load(url: str) -> None:
    key, per_minute = new_key(url, requests_per_minute=120), 120

    async def hammer(both: list[ReplicaServer]) -> tuple[Counter[int], float]:
        begun = time.monotonic()
        async with http_client() as http:
            client = Client(http, both, key)

            async def worker() -> None:
                while client.statuses[429] < 60:
                    await client.post()

            await asyncio.gather(*(worker() for _ in range(8)))
        return client.statuses, time.monotonic() - begun

    with replicas(database_url=url) as both:
        statuses, seconds = asyncio.run(hammer(both))

    assert set(statuses) == {200, 429}
    assert per_minute <= statuses[200] <= per_minute * (1 + seconds / 60) + 1


def test_places_hold_in_sum_and_those_of_a_killed_replica_come_back(url: str) -> None:
    key = new_key(url, concurrent_requests=3)
    long: dict[str, Any] = {"prompt": say("x" * 1500), "max_tokens": 2000}

    async def occupy(killed: ReplicaServer, staying: ReplicaServer) -> None:
        async with http_client() as http:
            on_killed, on_staying = Client(http, [killed], key), Client(http, [staying], key)
            held = [asyncio.create_task(on_killed.post(**long)) for _ in range(8)]
            while sum(on_killed.statuses.values()) < 5:
                await asyncio.sleep(0.01)
            assert on_killed.statuses == {429: 5}
            assert (await on_staying.post()).status_code == 429
            await asyncio.to_thread(killed.stop, signal.SIGKILL)
            await asyncio.gather(*held, return_exceptions=True)
            while (await on_staying.post()).status_code == 429:
                await asyncio.sleep(0.1)
            more = await asyncio.gather(*(on_staying.post(prompt=say("x" * 50), max_tokens=60) for _ in range(8)))
            assert Counter(answer.status_code for answer in more) == {200: 3, 429: 5}

    with replicas(pace_s=0.02, database_url=url) as both:
        asyncio.run(occupy(*both))


def test_a_budget_is_never_passed_in_sum(url: str) -> None:
    budget = 2000
    key = new_key(url, total_tokens=budget)

    async def spend(both: list[ReplicaServer]) -> None:
        async with http_client() as http:
            client = Client(http, both, key)

            async def worker() -> None:
                while client.statuses[429] < 40:
                    await client.post(prompt=say("x" * 20), max_tokens=30)

            await asyncio.gather(*(worker() for _ in range(8)))

    with replicas(database_url=url) as both:
        asyncio.run(spend(both))
        assert [each.stop() for each in both] == [0, 0]

    spent = rows(url, "SELECT sum(prompt_tokens + completion_tokens) FROM requests WHERE status = 200")[0][0]
    assert budget - 60 < spent <= budget
    assert rows(url, "SELECT used_tokens FROM accounts") == [(spent,)]
    assert rows(url, "SELECT * FROM leases") == []
    assert rows(url, "SELECT * FROM replicas") == []


def test_without_the_database_keys_without_limits_notice_nothing_and_no_row_is_lost(
    postgres: Cluster, url: str
) -> None:
    free, limited = new_key(url), new_key(url, "bob", requests_per_minute=100_000)

    async def load(both: list[ReplicaServer]) -> tuple[Counter[int], Counter[int]]:
        async with http_client() as http:
            clients, is_over = [Client(http, both, key) for key in (free, limited)], asyncio.Event()

            async def worker(client: Client) -> None:
                while not is_over.is_set():
                    await client.post()
                    await asyncio.sleep(0.02)

            workers = [asyncio.create_task(worker(client)) for client in clients for _ in range(4)]
            await progress(clients)
            await asyncio.to_thread(postgres.stop, "fast")  # a crash would lose decisions of the last half second
            await progress(clients)
            await asyncio.to_thread(postgres.start)
            await progress(clients)
            is_over.set()
            await asyncio.gather(*workers)
            return clients[0].statuses, clients[1].statuses

    async def progress(clients: list[Client]) -> None:
        targets = [client.statuses[200] + 50 for client in clients]
        while any(client.statuses[200] < target for client, target in zip(clients, targets, strict=True)):
            await asyncio.sleep(0.01)

    with replicas(database_url=url) as both:
        answered = asyncio.run(load(both))
        assert [each.stop() for each in both] == [0, 0]

    assert [set(statuses) for statuses in answered] == [{200}, {200}]
    assert rows(url, "SELECT count(*) FROM requests WHERE status = 200") == [(sum(each[200] for each in answered),)]
    # Debts too: a prompt of one token, and two generated ones. Of those in flight at the end it is not known.
    shared, expected = rows(url, "SELECT used_tokens FROM accounts")[0][0], answered[1][200] * 3
    assert abs(shared - expected) <= 8 * 3
    assert rows(url, "SELECT * FROM leases") == []


def test_a_response_made_on_one_replica_is_continued_read_and_deleted_through_another(url: str) -> None:
    with (
        keyed(new_key(url)) as http,
        replicas(database_url=url, store_responses="1h") as (first, second),
    ):
        made = http.post(f"{first.root}/v1/responses", json={"model": "fake", "input": say("one")}).json()
        more = {"model": "fake", "input": say("two"), "previous_response_id": made["id"]}
        continued = http.post(f"{second.root}/v1/responses", json=more).json()
        read = http.get(f"{second.root}/v1/responses/{made['id']}").json()
        deleted = http.delete(f"{second.root}/v1/responses/{made['id']}")
        gone = http.get(f"{first.root}/v1/responses/{made['id']}")

    assert continued["previous_response_id"] == made["id"]
    assert continued["usage"]["input_tokens"] > made["usage"]["input_tokens"]
    assert read["output"] == made["output"]
    assert (deleted.status_code, gone.status_code) == (200, 404)


def test_a_response_in_the_background_is_cancelled_through_another_replica_or_fails_with_its_own(url: str) -> None:
    body = {"model": "fake", "input": say("x" * 1500), "max_output_tokens": 2000, "background": True}
    with (
        keyed(new_key(url)) as http,
        replicas(pace_s=0.05, database_url=url, store_responses="1h") as (first, second),
    ):
        cancelled, abandoned = (http.post(f"{first.root}/v1/responses", json=body).json()["id"] for _ in range(2))
        wait_until(lambda: first.num_running() == 2)

        def status(response_id: str) -> str:
            found: str = http.get(f"{second.root}/v1/responses/{response_id}").json()["status"]
            return found

        http.post(f"{second.root}/v1/responses/{cancelled}/cancel").raise_for_status()
        wait_until(lambda: first.num_running() == 1)
        assert status(cancelled) == "cancelled"
        assert status(abandoned) in ("queued", "in_progress")
        first.stop(signal.SIGKILL)
        wait_until(lambda: status(abandoned) == "failed", LIMIT_S)


@pytest.mark.parametrize("is_killed", [False, True], ids=["both live", "one is killed"])
def test_a_batch_on_two_replicas_has_each_line_once(url: str, is_killed: bool) -> None:
    lines = [
        {
            "custom_id": str(number),
            "method": "POST",
            "url": "/v1/completions",
            "body": {**BODY, "prompt": say("x" * 20)},
        }
        for number in range(60)
    ]
    text = "\n".join(map(json.dumps, lines))
    with keyed(new_key(url)) as http, replicas(pace_s=0.02, database_url=url, store_files="1h") as both:
        upload = http.post(f"{both[0].root}/v1/files", files={"file": ("a.jsonl", text)}, data={"purpose": "batch"})
        body = {"input_file_id": upload.json()["id"], "endpoint": "/v1/completions", "completion_window": "24h"}
        batch = http.post(f"{both[0].root}/v1/batches", json=body).json()["id"]

        def found(root: str) -> dict[str, Any]:
            state: dict[str, Any] = http.get(f"{root}/v1/batches/{batch}").json()
            return state

        wait_until(lambda: found(both[1].root)["request_counts"]["completed"] >= 5, LIMIT_S)
        running, remaining = sorted(both, key=ReplicaServer.num_running, reverse=True)
        if is_killed:
            running.stop(signal.SIGKILL)
        wait_until(lambda: found(remaining.root)["status"] == "completed", LIMIT_S)
        output = http.get(f"{remaining.root}/v1/files/{found(remaining.root)['output_file_id']}/content").text

    ids = [json.loads(line)["custom_id"] for line in output.splitlines()]
    assert sorted(ids, key=int) == [str(number) for number in range(60)]


def test_everything_works_through_pgbouncer(postgres: Cluster, url: str) -> None:
    key = new_key(url, requests_per_minute=1000, concurrent_requests=50, total_tokens=100_000)
    with pgbouncer(postgres) as pooled:
        new_key(pooled, "bob")

        async def ask(both: list[ReplicaServer]) -> Counter[int]:
            async with http_client() as http:
                client = Client(http, both, key)
                for _ in range(10):
                    await asyncio.gather(*(client.post() for _ in range(12)))
                return client.statuses

        with replicas(database_url=pooled, store_responses="1h", store_files="1h", log_level="info") as both:
            assert asyncio.run(ask(both)) == {200: 120}
            assert [each.stop() for each in both] == [0, 0]

    assert rows(url, "SELECT count(*) FROM requests WHERE status = 200") == [(120,)]
    assert rows(url, "SELECT used_tokens FROM accounts") == [(360,)]


def test_status_lists_the_replicas(url: str) -> None:
    def listed() -> dict[str, dict[str, Any]]:
        command = [sys.executable, "-m", "crossette", "status", "--replicas", "--json", "--database-url", url]
        found = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout
        return {row["name"]: row for row in json.loads(found)}

    with keyed("none") as http, replicas(database_url=url, drain_delay=LIMIT_S) as (first, second):
        http.post(f"{first.root}/v1/completions", json=BODY).raise_for_status()
        second.process.send_signal(signal.SIGTERM)
        wait_until(lambda: listed()["replica-2"]["status"] == "draining", LIMIT_S)
        wait_until(lambda: listed()["replica-1"]["generated_tokens"] == 2, LIMIT_S)
        shown = listed()
        table = subprocess.run(
            [sys.executable, "-m", "crossette", "status", "--replicas", "--database-url", url],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        ).stdout

    assert shown["replica-1"].items() >= {"status": "ok", "running": 0, "waiting": 0, "prompt_tokens": 1}.items()
    assert table.splitlines()[-1] == "2 live replicas, 0 requests running, 0 waiting"
