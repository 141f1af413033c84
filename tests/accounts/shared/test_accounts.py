"""The limits of keys in PostgreSQL: the rules of one process, among several, and while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest

from crossette.accounts.access import Caller, Limits
from crossette.accounts.key_accounts import Hold
from crossette.accounts.shared.replica import Replica
from crossette.errors import BudgetSpent, Forbidden, RateLimited
from support.postgres import Cluster

pytestmark = pytest.mark.all

LIMIT_S = 60


def caller(**limits: int) -> Caller:
    return Caller("key-1", "a key", limits=Limits(**limits))


@asynccontextmanager
async def replicas(url: str, number: int = 2) -> AsyncIterator[list[Replica]]:
    started = [Replica(url, f"replica-{index}") for index in range(number)]
    for replica in started:
        await replica.start()
    try:
        yield started
    finally:
        for replica in started:
            await replica.stop()


async def begun(replica: Replica, key: Caller) -> Hold:
    hold = await replica.accounts.begin(key)
    assert hold is not None
    return hold


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await happened():
            await asyncio.sleep(0.05)


async def query(url: str, statement: str) -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []


def test_a_key_without_limits_costs_no_statement(url: str) -> None:
    async def run() -> None:
        async with replicas(url, 1) as (replica,):
            assert await replica.accounts.begin(Caller("key-1", "a key")) is None
            assert await query(url, "SELECT * FROM accounts") == []

    asyncio.run(run())


def test_requests_per_minute_hold_in_sum(url: str) -> None:
    async def run() -> None:
        key, admitted = caller(requests_per_minute=5), 0
        async with replicas(url) as both:
            for index in range(8):
                try:
                    await begun(both[index % 2], key)
                    admitted += 1
                except RateLimited as error:
                    refused = error
            assert admitted == 5
            assert refused.message.startswith("This key's limit is 5 requests per minute, and 0 remain.")
            assert 0 < (refused.retry_after or 0) <= 12
            assert [allowance.remaining for allowance in both[1].accounts.allowances(key)] == [0]

    asyncio.run(run())


def test_three_at_once_is_never_four_in_sum(url: str) -> None:
    async def run() -> None:
        key = caller(concurrent_requests=3)
        async with replicas(url) as both:
            asked = await asyncio.gather(
                *(both[index % 2].accounts.begin(key) for index in range(12)), return_exceptions=True
            )
            holds = [hold for hold in asked if not isinstance(hold, BaseException)]
            assert len(holds) == 3
            assert {type(hold) for hold in asked} == {type(holds[0]), RateLimited}
            hold = holds[0]
            assert hold is not None
            hold.end(cached_tokens=0, generated_tokens=1)
            await begun(both[0], key)
            await begun_after_refusals(both[1], key, 0)

    asyncio.run(run())


async def begun_after_refusals(replica: Replica, key: Caller, expected: int) -> None:
    admitted = 0
    try:
        await begun(replica, key)
        admitted += 1
    except RateLimited as error:
        assert "3 requests of this key are in flight and 3 is the limit" in error.message
    assert admitted == expected


def test_a_request_that_ends_makes_room_on_the_same_replica_at_once(url: str) -> None:
    async def run() -> None:
        key = caller(concurrent_requests=1)
        async with replicas(url, 1) as (replica,):
            for _ in range(20):
                (await begun(replica, key)).end(cached_tokens=0, generated_tokens=1)

    asyncio.run(run())


def test_a_budget_is_never_passed_in_sum(url: str) -> None:
    async def run() -> None:
        key, used = caller(total_tokens=1000), 0
        async with replicas(url) as both:

            async def worker(index: int) -> None:
                nonlocal used
                for _ in range(20):
                    try:
                        hold = await begun(both[index % 2], key)
                        await hold.admit(10, 40)
                    except (RateLimited, BudgetSpent):
                        continue
                    await asyncio.sleep(0)
                    used += 45
                    hold.end(cached_tokens=0, generated_tokens=35)

            await asyncio.gather(*(worker(index) for index in range(8)))
            assert 900 <= used <= 1000
            with pytest.raises(BudgetSpent, match="The total budget of this key is 1000 tokens"):
                for _ in range(3):
                    hold = await begun(both[0], key)
                    assert hold.remaining() is not None
                    await hold.admit(10, 100)
            await both[0].accounts.ends.written(key.id)
        assert await query(url, "SELECT used_tokens FROM accounts") == [(used,)]

    asyncio.run(run())


def test_a_budget_counts_what_the_ledger_has(url: str) -> None:
    async def run() -> None:
        await query(url, "INSERT INTO days VALUES ('2026-11-29', 'key-1', 'm', 1, 0, 60, 0, 40, 0, NULL)")
        async with replicas(url, 1) as (replica,):
            hold = await begun(replica, caller(total_tokens=250))
            assert hold.remaining() == 150
            hold.cancel()
            with pytest.raises(BudgetSpent, match="and 100 are used"):
                await begun(replica, caller(total_tokens=100))

    asyncio.run(run())


def test_a_long_answer_is_a_debt_that_all_replicas_wait_for(url: str) -> None:
    async def run() -> None:
        key = caller(generated_tokens_per_minute=60)
        async with replicas(url) as both:
            (await begun(both[0], key)).end(cached_tokens=0, generated_tokens=90)
            await both[0].accounts.ends.written(key.id)
            with pytest.raises(RateLimited) as refused:
                await begun(both[1], key)
            assert 25 < (refused.value.retry_after or 0) <= 31

    asyncio.run(run())


def test_a_cancelled_request_gives_back_what_it_took(url: str) -> None:
    async def run() -> None:
        key = caller(requests_per_minute=60, prompt_tokens_per_minute=6000)
        async with replicas(url, 1) as (replica,):
            hold = await begun(replica, key)
            await hold.admit(3000, 10)
            hold.cancel(took_request=False)
            hold.end(cached_tokens=0, generated_tokens=9)  # it has ended
            await replica.accounts.ends.written(key.id)
            await begun(replica, key)
            assert [allowance.remaining for allowance in replica.accounts.allowances(key)] == [59, 6000]

    asyncio.run(run())


def test_a_changed_limit_keeps_its_level_in_proportion(url: str) -> None:
    async def run() -> None:
        async with replicas(url, 1) as (replica,):
            await begun(replica, caller(requests_per_minute=2))
            key = caller(requests_per_minute=40)
            await begun(replica, key)
            assert [allowance.remaining for allowance in replica.accounts.allowances(key)] in ([19], [20])
            with pytest.raises(Forbidden, match="This key's limit is 0 requests per minute"):
                await begun(replica, caller(requests_per_minute=0))

    asyncio.run(run())


def test_the_places_of_a_killed_replica_come_back(url: str) -> None:
    async def run() -> None:
        key = caller(concurrent_requests=2)
        async with replicas(url, 1) as (replica,):
            killed = Replica(url, "killed")
            await killed.start()
            for _ in range(2):
                await begun(killed, key)
            with pytest.raises(RateLimited):
                await begun(replica, key)
            await query(url, "UPDATE replicas SET seen_at = seen_at - interval '11 s' WHERE name = 'killed'")
            for _ in range(2):
                await begun(replica, key)
            await killed.stop()

    asyncio.run(run())


def test_a_request_that_is_cancelled_while_it_begins_holds_nothing(url: str) -> None:
    async def run() -> None:
        key = caller(concurrent_requests=1)
        async with replicas(url, 1) as (replica,):
            for turn in range(20):
                asking = asyncio.create_task(replica.accounts.begin(key))
                for _ in range(turn):
                    await asyncio.sleep(0)
                asking.cancel()
                for hold in await asyncio.gather(asking, return_exceptions=True):
                    if not isinstance(hold, BaseException):
                        assert hold is not None
                        hold.cancel()

            async def is_empty() -> bool:
                return await query(url, "SELECT * FROM leases") == []

            await until(is_empty)
            await begun(replica, key)

    asyncio.run(run())


def test_without_the_database_each_replica_applies_its_part_and_debts_are_taken_later(
    postgres: Cluster, url: str
) -> None:
    async def run() -> None:
        key = caller(requests_per_minute=40)
        async with replicas(url) as both:
            await until(lambda: all_seen(both))
            for replica in both:
                await begun(replica, key)
            before = await begun(both[0], key)
            await asyncio.to_thread(postgres.stop)
            counts = [await admitted(replica, key) for replica in both]
            before.end(cached_tokens=0, generated_tokens=5)
            await asyncio.to_thread(postgres.start)
            await until(lambda: all_seen(both))
            for replica in both:
                await replica.accounts.ends.written(key.id)
            assert all(18 <= count <= 22 for count in counts), counts  # half of what remained, and its refill
            with pytest.raises(RateLimited):
                for _ in range(30):
                    await begun(both[0], key)

    async def all_seen(both: list[Replica]) -> bool:
        return all(each.accounts.outage is None and each.heartbeat.num_replicas == len(both) for each in both)

    async def admitted(replica: Replica, key: Caller) -> int:
        holds = []
        for _ in range(40):
            try:
                holds.append(await begun(replica, key))
            except RateLimited:
                continue
        for hold in holds:
            await hold.admit(10, 10)
            hold.end(cached_tokens=0, generated_tokens=5)
        return len(holds)

    asyncio.run(run())


def test_without_the_database_a_budget_that_is_not_known_gives_nothing(postgres: Cluster, url: str) -> None:
    async def run() -> None:
        async with replicas(url, 1) as (replica,):
            (await begun(replica, caller(requests_per_minute=5))).cancel()
            await asyncio.to_thread(postgres.stop)
            try:
                with pytest.raises(RateLimited, match="The budget of this key cannot be read now"):
                    await replica.accounts.begin(Caller("key-2", "another", limits=Limits(total_tokens=100)))
            finally:
                await asyncio.to_thread(postgres.start)

    asyncio.run(run())
