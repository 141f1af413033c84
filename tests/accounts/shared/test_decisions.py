"""Decisions that are asked for at once are one statement, and each has its own answer; without a database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest

from crossette.accounts.shared import decisions
from crossette.accounts.shared.connections import Connections, DatabaseAway
from crossette.accounts.shared.decisions import MAX_STATEMENTS, Decisions

LIMIT_S = 20


class SlowDatabase:
    """Answers a statement once `go_on` is set, with the key of each decision."""

    def __init__(self) -> None:
        self.statements: list[list[str]] = []
        """The keys of each."""
        self.go_on = asyncio.Event()
        self.is_away = False

    async def ask_all(
        self, statement: str, values: Mapping[str, Any], on_unknown: Callable[[], None]
    ) -> Sequence[Mapping[str, Any]]:
        asked = json.loads(values["asked"])
        self.statements.append([each["key"] for each in asked])
        await self.go_on.wait()
        if self.is_away:
            on_unknown()
            raise DatabaseAway
        return [{"number": each["number"], "of": each["key"]} for each in reversed(asked)]


class Asking:
    """Asks for decisions on keys, and notes those that stay unknown."""

    def __init__(self, database: SlowDatabase) -> None:
        self._decisions = Decisions(cast(Connections, database))
        self.unknown: list[str] = []

    def ask(self, *keys: str) -> list[asyncio.Task[Any]]:
        return [
            asyncio.create_task(self._decisions.ask({"key": key}, lambda key=key: self.unknown.append(key)))  # type: ignore[misc]
            for key in keys
        ]

    async def now(self, key: str) -> None:
        """Ask without a task of its own."""
        await self._decisions.ask({"key": key}, lambda: None)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_decisions_that_wait_for_others_are_asked_for_in_one_statement() -> None:
    async def run() -> None:
        database = SlowDatabase()
        asking = Asking(database)
        first = []
        for number in range(MAX_STATEMENTS):
            first += asking.ask(f"first {number}")
            await settled()
        later = asking.ask("a", "b", "a", "c")
        await settled()
        assert database.statements == [[f"first {number}"] for number in range(MAX_STATEMENTS)]
        database.go_on.set()
        async with asyncio.timeout(LIMIT_S):
            answers = await asyncio.gather(*first, *later)
        assert database.statements[MAX_STATEMENTS:] == [["a", "b", "a", "c"]]
        assert [answer["of"] for answer in answers] == ["first 0", "first 1", "a", "b", "a", "c"]
        assert asking.unknown == []

    asyncio.run(run())


def test_one_that_asks_in_the_moment_in_which_a_task_ends_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MAX_STATEMENTS", 1)

    async def run() -> None:
        asking = Asking(database := SlowDatabase())
        database.go_on.set()
        async with asyncio.timeout(LIMIT_S):
            for _ in range(3):
                await asking.now("a")
        assert database.statements == [["a"]] * 3

    asyncio.run(run())


def test_one_that_is_cancelled_while_it_waits_is_not_asked_for() -> None:
    async def run() -> None:
        database = SlowDatabase()
        asking = Asking(database)
        for _ in range(MAX_STATEMENTS):
            asking.ask("before")
            await settled()
        cancelled, kept = asking.ask("cancelled", "kept")
        await settled()
        cancelled.cancel()
        database.go_on.set()
        async with asyncio.timeout(LIMIT_S):
            assert (await kept)["of"] == "kept"
        assert (database.statements[-1], asking.unknown) == (["kept"], [])

    asyncio.run(run())


@pytest.mark.parametrize("ticks", range(4))
def test_what_was_decided_for_one_that_is_cancelled_is_known_to_be_unread(ticks: int) -> None:
    """Also if it is cancelled between the answer and its next step."""

    async def run() -> None:
        database = SlowDatabase()
        asking = Asking(database)
        cancelled, kept = asking.ask("cancelled", "kept")
        await settled()
        database.go_on.set()
        for _ in range(ticks):
            await asyncio.sleep(0)
        cancelled.cancel()
        async with asyncio.timeout(LIMIT_S):
            answers = await asyncio.gather(cancelled, kept, return_exceptions=True)
        was_read = not isinstance(answers[0], asyncio.CancelledError)
        assert asking.unknown == ([] if was_read else ["cancelled"])
        assert answers[1] == {"number": 1, "of": "kept"}

    asyncio.run(run())


def test_without_the_database_all_of_a_statement_are_unknown() -> None:
    async def run() -> None:
        database = SlowDatabase()
        database.is_away = True
        database.go_on.set()
        asking = Asking(database)
        answers = await asyncio.gather(*asking.ask("a", "b"), return_exceptions=True)
        assert [type(answer) for answer in answers] == [DatabaseAway, DatabaseAway]
        assert (database.statements, asking.unknown) == ([["a", "b"]], ["a", "b"])

    asyncio.run(run())
