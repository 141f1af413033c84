"""A fault at any await of a request: at most one terminal event, no hang, all released, and the next request works."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from starlette.types import Message

from crossette.accounts.access import Caller, Limits
from crossette.accounts.key_accounts import LocalAccounts
from crossette.accounts.limits import Limiter
from crossette.api.app import App
from crossette.api.guards.admission import AdmissionController
from crossette.api.http import HttpSettings
from crossette.api.models import ServedModels
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.api_server import PREFIXES, parrot, say
from support.engine_calls import is_empty
from support.faulty_tasks import Faults
from support.ledger_entries import InMemoryLedger

pytestmark = pytest.mark.slow

LIMIT_S = 10
BUDGET = 10_000
ONE_AT_ONCE = Caller("id", "a key", limits=Limits(concurrent_requests=1, total_tokens=BUDGET))
"""A request that the limiter did not release would block the next one."""

TEXT = say("one two")
CHAT = {"model": "fake", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 40}
PLAIN = {"model": "fake", "prompt": TEXT, "max_tokens": 40}
JSON_REQUEST = {
    "model": "fake",
    "prompt": say('{"a": 1}'),
    "max_tokens": 40,
    "response_format": {"type": "json_object"},
}

RESPONSE = {"model": "fake", "input": TEXT, "max_output_tokens": 40}

CASES: dict[str, tuple[str, dict[str, Any], HttpSettings]] = {
    "chat": ("chat/completions", CHAT, HttpSettings()),
    "two prompts": ("completions", PLAIN | {"prompt": [TEXT, say("three")], "n": 2}, HttpSettings()),
    "messages": ("messages", CHAT, HttpSettings()),
    "a response format": ("completions", JSON_REQUEST, HttpSettings()),
    "a response": ("responses", RESPONSE, HttpSettings()),
    "a response, status first": ("responses", RESPONSE, HttpSettings(first_byte_timeout=0, comment_interval=0.0001)),
    "status first": ("completions", PLAIN, HttpSettings(first_byte_timeout=0, comment_interval=0.0001)),
    "embeddings": ("embeddings", {"model": "fake", "input": [TEXT, "three"]}, HttpSettings()),
    "refused": ("completions", PLAIN | {"temperature": 9}, HttpSettings()),
}


@dataclass
class Exchange:
    """The ASGI messages that the app received and sent."""

    body: bytes
    sent: list[Message] = field(default_factory=list)
    _num_received: int = 0

    async def receive(self) -> Message:
        """The body in two pieces, then a client that stays connected."""
        await asyncio.sleep(0)
        self._num_received += 1
        if self._num_received == 1:
            return {"type": "http.request", "body": self.body[:20], "more_body": True}
        if self._num_received == 2:
            return {"type": "http.request", "body": self.body[20:], "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError("nothing sets it")

    async def send(self, message: Message) -> None:
        await asyncio.sleep(0)
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def is_over(self) -> bool:
        """Whether the response was completed: a client detects a truncated response only by its missing end."""
        return bool(self.sent) and self.sent[-1]["type"].endswith("body") and not self.sent[-1].get("more_body")

    @property
    def content(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


class OnlyCaller:
    """An `Authenticator` with one caller for all requests."""

    def caller(self, key: str | None) -> Caller:
        return ONE_AT_ONCE


def assert_nothing_held(limiter: Limiter) -> None:
    """Assert that no slot and no part of the budget is held."""
    reservation = limiter.begin(ONE_AT_ONCE, time.monotonic())
    assert reservation is not None
    assert reservation.remaining(0) == BUDGET
    reservation.cancel(time.monotonic())
    reservation.settle()


async def ask(app: App, path: str, body: object) -> Exchange:
    exchange = Exchange(json.dumps(body).encode())
    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    await app(scope, exchange.receive, exchange.send)
    return exchange


async def ask_with(faults: Faults, app: App, path: str, body: object) -> tuple[Exchange, BaseException | None]:
    """The exchange, and the exception of the app. All tasks that it starts are faulty."""
    exchange = Exchange(json.dumps(body).encode())
    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    loop = asyncio.get_running_loop()
    loop.set_task_factory(faults.task)
    asking = asyncio.ensure_future(app(scope, exchange.receive, exchange.send))
    done, _ = await asyncio.wait({asking}, timeout=LIMIT_S)
    loop.set_task_factory(None)
    assert done, "it hangs"
    raised = asyncio.CancelledError() if asking.cancelled() else asking.exception()
    return exchange, raised


async def nothing_left() -> None:
    """Wait until this is the only task."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=LIMIT_S)


ENDS = (
    b"event: message_stop",
    b"event: error",
    b"event: response.completed",
    b"event: response.incomplete",
    b"event: response.failed",
)


def is_end(frame: bytes) -> bool:
    """Whether a frame ends a stream, as it does once."""
    if frame.startswith(b"event: "):
        return frame.startswith(ENDS)
    return frame == b"data: [DONE]" or b'"error"' in frame


def assert_ended_once(exchange: Exchange, *, streamed: bool) -> None:
    """Assert a complete response with exactly one end, or one without, whose connection the server closes."""
    if not exchange.is_over:
        assert sum(map(is_end, exchange.content.split(b"\n\n"))) <= 1
        return
    if streamed and exchange.status == 200:
        frames = [part for part in exchange.content.split(b"\n\n") if part not in (b"", b":")]
        ends = [is_end(frame) for frame in frames]
        assert ends == [False] * (len(frames) - 1) + [True]
    else:
        assert bool(json.loads(exchange.content).get("error")) == (exchange.status != 200)


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError], ids=["failing", "cancelled"])
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("case", CASES)
def test_a_fault_at_any_await_ends_the_request_once_and_releases_everything(
    case: str, streamed: bool, error: Callable[[str], BaseException]
) -> None:
    endpoint, body, settings = CASES[case]
    path, body = f"{PREFIXES[0]}/{endpoint}", body | {"stream": streamed}
    engine = FakeEngine(parrot)
    limiter, ledger = Limiter(), InMemoryLedger()
    app = App(
        ServedModels(ModelPool.of({"fake": engine})),
        settings,
        access=OnlyCaller(),
        ledger=ledger,
        admissions=AdmissionController(LocalAccounts(limiter)),
    )

    async def strike_everywhere() -> int:
        for index in count():
            faults = Faults(index, error("injected"))
            ledger.entries.clear()
            exchange, raised = await ask_with(faults, app, path, body)
            await nothing_left()
            assert is_empty(engine), f"after a fault at await {index}"
            assert_nothing_held(limiter)
            assert len(ledger.entries) == 1
            assert_ended_once(exchange, streamed=streamed)
            if not faults.has_struck:
                assert raised is None
                return index
            again = await asyncio.wait_for(ask(app, f"{PREFIXES[0]}/completions", PLAIN), LIMIT_S)
            assert again.status == 200
        raise AssertionError("count ended")

    assert asyncio.run(strike_everywhere()) > 3
