"""The real app behind the real server, on a free port, in a thread; its engine says what the prompt tells it to."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection
from typing import Any

import httpx
import pydantic
from openai import OpenAI

from crossette.accounts.access import ANONYMOUS, Authenticator, Caller
from crossette.accounts.ledger import Ledger
from crossette.api.app import App
from crossette.api.dialect import FIREWORKS, OPENAI, Dialect
from crossette.api.grammar_pool import GrammarPool
from crossette.api.guards.admission import AdmissionController
from crossette.api.guards.origins import OriginSettings
from crossette.api.http import HttpSettings
from crossette.api.models import ServedModels
from crossette.api.usage import UsageReader
from crossette.engine import Engine, EngineStats
from crossette.observability.record import Observer, RequestRecord
from crossette.server.draining import DrainingServer
from crossette.server.tls import TlsSettings
from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.engine_calls import is_empty

LIMIT_S = 20
"""The limit of every wait of a test for something that should happen at once."""

PREFIXES = ("/v1", "/inference/v1")
ALIASES = {"gpt-3.5-turbo": "fake", "accounts/fireworks/models/starcoder-16b-w8a16": "fake"}
DIALECTS = {"/v1": OPENAI, "/inference/v1": FIREWORKS}

_ORDER = b"say: "
_ORDER_IN_TURNS = b"in turns: "
_RESULT = re.compile("<tool_response>\n(.*?)\n</tool_response>", re.DOTALL)


def say(*texts: str) -> str:
    """A prompt, or a message, that a parrot answers with these texts: choice 0 with the first, and so on around."""
    return _ORDER.decode() + "|".join(texts)


def in_turns(*texts: str) -> str:
    """A message that a parrot answers with the first text, and with the second when it is asked again, and so on.

    `$1` in a text is the first result of a tool in the conversation, `$2` the second.
    """
    return _ORDER_IN_TURNS.decode() + json.dumps(texts)


def parrot(request: GenerationRequest, index: int) -> bytes:
    """A script for the fake engine. Without an order it tells the number of the prompt's tokens."""
    prompt = bytes(min(token, 255) for token in request.prompt)  # control tokens as a byte that is never in UTF-8
    _, found, told = prompt.rpartition(_ORDER_IN_TURNS)
    if found:
        return _next_turn(told)
    _, found, told = prompt.rpartition(_ORDER)
    if not found:
        return f"{len(request.prompt)} tokens".encode()
    texts = told.partition(b"\xff")[0].split(b"|")
    return texts[index % len(texts)]


def _next_turn(told: bytes) -> bytes:
    """What comes next, by what was said since the order."""
    since = told.decode(errors="replace")
    texts, _ = json.JSONDecoder().raw_decode(since)
    results = _RESULT.findall(since)
    text: str = texts[told.count(b"\xffassistant\n") - 1]
    return re.sub(r"\$(\d)", lambda mark: results[int(mark[1]) - 1], text).encode()


def has(**counts: int) -> Callable[[EngineStats], bool]:
    """A condition to wait for: `engine.wait_for(has(running=1))`."""
    return lambda stats: all(getattr(stats, name) == count for name, count in counts.items())


class Told:
    """Who is told of requests, after log and metrics: a client may have its answer a moment before."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []
        self._changed = threading.Condition()

    def note(self, record: RequestRecord) -> None:
        with self._changed:
            self.records.append(record)
            self._changed.notify_all()

    def mismatches(self, num_requests: int) -> int:
        """How many of the first `num_requests` ended with an answer that does not match what the grammar enforced."""
        self.wait_for(num_requests)
        return sum(bool(record.mismatch) for record in self.records)

    def wait_for(self, count: int) -> None:
        """Wait until so many requests were told of, those for metrics left out."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._count() >= count, LIMIT_S), self.records

    def _count(self) -> int:
        return sum(record.route != "/metrics" for record in self.records)


@dataclass
class ApiServer:
    """A server at work. `engine` may be paused, stepped and waited for from the thread of the test."""

    root: str
    address: tuple[str, int]
    app: App
    engine: FakeEngine
    server: DrainingServer
    told: Told
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=LIMIT_S))

    def __post_init__(self) -> None:
        self.sdk = cache(self._sdk)
        self._sdks: list[OpenAI] = []

    def url(self, path: str) -> str:
        return self.root + path

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """A POST of JSON, or of bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(self.url(path), content=content, headers=headers)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.http.get(self.url(path), headers=headers)

    def begin(self, path: str, body: object) -> socket.socket:
        """Send a request on a connection of its own, and read nothing: closing it hangs up."""
        content = json.dumps(body).encode()
        connection = self.connect()
        head = f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        return connection

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=LIMIT_S)

    @contextmanager
    def one_connection(self) -> Iterator[Callable[[str, object], int]]:
        """A call that posts and gives the status, on one connection: it fails once the server has closed that."""
        with closing(HTTPConnection(*self.address, timeout=LIMIT_S)) as connection:
            connection.connect()
            connection.auto_open = 0

            def ask(path: str, body: object) -> int:
                connection.request("POST", path, json.dumps(body))
                answer = connection.getresponse()
                answer.read()
                return answer.status

            yield ask

    def wait_until_idle(self) -> None:
        """Come back when nothing runs, waits or holds a block."""
        self.engine.wait_for(lambda stats: is_empty(self.engine), LIMIT_S)

    def _sdk(self, prefix: str) -> OpenAI:
        sdk = OpenAI(base_url=self.url(prefix), api_key="none", max_retries=0, timeout=LIMIT_S)
        self._sdks.append(sdk)
        return sdk

    def close(self) -> None:
        for sdk in self._sdks:
            sdk.close()
        self.http.close()


@contextmanager
def serving(
    engine: Engine | None = None,
    *,
    aliases: Mapping[str, str] | None = None,
    drain_timeout: float = LIMIT_S,
    dialects: tuple[Dialect, ...] = (OPENAI, FIREWORKS),
    access: Authenticator | None = None,
    ledger: Ledger | None = None,
    callers: Mapping[str, Caller] | None = None,
    admissions: AdmissionController | None = None,
    grammars: GrammarPool | None = None,
    usage: UsageReader | None = None,
    origins: OriginSettings | None = None,
    tls: TlsSettings | None = None,
    observers: Sequence[Observer] = (),
    begins_traces: bool = False,
    **settings: Any,  # Any: fields of HttpSettings
) -> Iterator[ApiServer]:
    """Run a server of its own for one test: with a parrot, unless an engine is given.

    `callers` are by the key that they send as a Bearer token.
    """
    engine = engine or FakeEngine(parrot)
    told = Told()
    models = ServedModels({engine.info.name: engine}, aliases)
    app = App(
        models,
        HttpSettings(**settings),
        dialects,
        access=access or _Callers(callers or {}),
        ledger=ledger,
        admissions=admissions,
        grammars=grammars,
        usage=usage,
        origins=origins,
        observers=(*observers, told.note),
        begins_traces=begins_traces,
    )
    server = _Server(app, engine, drain_timeout, tls)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert server.ready.wait(LIMIT_S)
        # Tests that bring an engine of another class do not use what only the fake one has.
        served = ApiServer(f"http://127.0.0.1:{address[1]}", address, app, engine, server, told)  # type: ignore[arg-type]
        try:
            yield served
        finally:
            served.close()
            server.should_exit = True
            thread.join(2 * LIMIT_S)
            assert not thread.is_alive()


class _Callers:
    """An `Authenticator` that knows callers by their keys, and lets everybody else in too."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._callers = callers

    def caller(self, key: str | None) -> Caller:
        return self._callers.get(key or "", ANONYMOUS)


class _Server(DrainingServer):
    def __init__(self, app: App, engine: Engine, drain_timeout: float, tls: TlsSettings | None) -> None:
        super().__init__(app, engine, drain_timeout, tls)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        """As uvicorn's, but it looks more often than ten times a second: a test waits for every stop."""
        await self.on_tick(0)  # sets the date that every answer carries
        while not self.should_exit:
            await asyncio.sleep(0.005)


def events(stream: bytes) -> list[Any]:
    """The frames of a whole stream, decoded. Fails unless each is one line, and the last one is `[DONE]`."""
    *frames, done, rest = stream.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [_decoded(frame) for frame in frames]


def cut_short(stream: bytes) -> list[Any]:
    """The frames of a stream that ends without `[DONE]`."""
    assert b"[DONE]" not in stream
    *frames, rest = stream.split(b"\n\n")
    assert rest == b""
    return [_decoded(frame) for frame in frames if frame != b":"]


def _decoded(frame: bytes) -> Any:  # Any: JSON
    prefix, line = frame[:6], frame[6:]
    assert (prefix, b"\n" in line) == (b"data: ", False)
    return json.loads(line)


def fingerprint(raw: Any, prefix: str) -> dict[str, str]:
    """What OpenAI's answers have beside the rest: their own system_fingerprint. Fireworks' have nothing."""
    return {"system_fingerprint": raw["system_fingerprint"]} if DIALECTS[prefix].fingerprints else {}


def strictly(model: type[pydantic.BaseModel], raw: object) -> set[str]:
    """Check JSON against a type of the SDK, as the SDK itself never does. Returns the keys that it does not know."""
    return set(_extras(model.model_validate_json(json.dumps(raw), strict=True)))


def _extras(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, pydantic.BaseModel):
        yield from (path + key for key in value.model_extra or ())
        for name in type(value).model_fields:
            yield from _extras(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list):
        for item in value:
            yield from _extras(item, path)
