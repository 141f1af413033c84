"""The real app in the real server, on a free port, in a thread. The prompt defines the output of its fake engine."""

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
from crossette.accounts.keys import KeyStore
from crossette.accounts.ledger import Ledger
from crossette.api.app import App
from crossette.api.dialect import FIREWORKS, OPENAI, Dialect
from crossette.api.grammar_pool import GrammarPool
from crossette.api.guards.admission import AdmissionController
from crossette.api.guards.origins import OriginSettings
from crossette.api.http import HttpSettings
from crossette.api.image_fetch import ImageFetcher
from crossette.api.models import ServedModels
from crossette.api.puller import Puller
from crossette.api.responses.service import ResponsesService
from crossette.api.storage import Storage
from crossette.api.usage import UsageReader
from crossette.engine import Engine, EngineStats
from crossette.observability.record import Observer, RequestRecord
from crossette.pool.pool import ModelPool
from crossette.remote.model import RemoteModel
from crossette.server.draining import DrainingServer
from crossette.server.tls import TlsSettings
from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.engine_calls import is_empty

LIMIT_S = 20
"""Timeout of every wait in a test."""

PREFIXES = ("/v1", "/inference/v1")
ALIASES = {"gpt-3.5-turbo": "fake", "accounts/fireworks/models/starcoder-16b-w8a16": "fake"}
DIALECTS = {"/v1": OPENAI, "/inference/v1": FIREWORKS}

_SAY = b"say: "
_IN_TURNS = b"in turns: "
_RESULT = re.compile("<tool_response>\n(.*?)\n</tool_response>", re.DOTALL)


def say(*texts: str) -> str:
    """A prompt or message to which `parrot` outputs these texts: choice 0 the first, and so on, cyclically."""
    return _SAY.decode() + "|".join(texts)


def in_turns(*texts: str) -> str:
    """A message to which `parrot` outputs the first text, then the second in the next turn, and so on.

    `$1` in a text is the first tool result in the conversation, `$2` the second.
    """
    return _IN_TURNS.decode() + json.dumps(texts)


def parrot(request: GenerationRequest, index: int) -> bytes:
    """A script for the fake engine. Without an instruction it outputs the number of prompt tokens."""
    prompt = bytes(
        min(token, 255) for token in request.prompt
    )  # special tokens become a byte that never occurs in UTF-8
    _, found, instruction = prompt.rpartition(_IN_TURNS)
    if found:
        return _next_turn(instruction)
    _, found, instruction = prompt.rpartition(_SAY)
    if not found:
        return f"{len(request.prompt)} tokens".encode()
    texts = instruction.partition(b"\xff")[0].split(b"|")
    return texts[index % len(texts)]


def _next_turn(instruction: bytes) -> bytes:
    """The next output, by the number of turns since the instruction."""
    since = instruction.decode(errors="replace")
    texts, _ = json.JSONDecoder().raw_decode(since)
    results = _RESULT.findall(since)
    text: str = texts[instruction.count(b"\xffassistant\n") - 1]
    return re.sub(r"\$(\d)", lambda reference: results[int(reference[1]) - 1], text).encode()


def has(**counts: int) -> Callable[[EngineStats], bool]:
    """A condition to wait for: `engine.wait_for(has(running=1))`."""
    return lambda stats: all(getattr(stats, name) == count for name, count in counts.items())


class RecordKeeper:
    """An observer that keeps records, after log and metrics. A client may have its answer a moment before."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []
        self._changed = threading.Condition()

    def note(self, record: RequestRecord) -> None:
        with self._changed:
            self.records.append(record)
            self._changed.notify_all()

    def mismatches(self, num_requests: int) -> int:
        """How many of the first `num_requests` ended with an output mismatch."""
        self.wait_for(num_requests)
        return sum(bool(record.mismatch) for record in self.records)

    def wait_for(self, count: int) -> None:
        """Wait for this many records, without those of /metrics."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.count() >= count, LIMIT_S), self.records

    def count(self) -> int:
        """The number of records, without those of /metrics."""
        return sum(record.route != "/metrics" for record in self.records)


@dataclass
class ApiServer:
    """A running server. The test's thread may pause, step and wait for `engine`."""

    root: str
    address: tuple[str, int]
    app: App
    engine: FakeEngine
    server: DrainingServer
    observed: RecordKeeper
    http: httpx.Client = field(
        # The server closes idle connections after five seconds: none is used again that may be closed meanwhile.
        default_factory=lambda: httpx.Client(timeout=LIMIT_S, limits=httpx.Limits(keepalive_expiry=1))
    )

    def __post_init__(self) -> None:
        self.sdk = cache(self._sdk)
        self._sdks: list[OpenAI] = []

    def url(self, path: str) -> str:
        return self.root + path

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """POST JSON, or raw bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(self.url(path), content=content, headers=headers)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.http.get(self.url(path), headers=headers)

    def begin(self, path: str, body: object) -> socket.socket:
        """Send a request on its own connection, and read nothing. Closing the connection disconnects."""
        content = json.dumps(body).encode()
        connection = self.connect()
        head = f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        return connection

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=LIMIT_S)

    @contextmanager
    def one_connection(self) -> Iterator[Callable[[str, object], int]]:
        """A function that posts and returns the status, on one connection. It fails once the server has closed it."""
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
        """Wait until nothing runs, waits or holds a block."""
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
    pool: ModelPool | None = None,
    models: ServedModels | None = None,
    puller: Puller | None = None,
    responses: ResponsesService | None = None,
    storage: Storage | None = None,
    keys: KeyStore | None = None,
    remotes: Sequence[RemoteModel] = (),
    fetcher: ImageFetcher | None = None,
    **settings: Any,  # Any: fields of HttpSettings
) -> Iterator[ApiServer]:
    """Run a server for one test, with a fake engine and `parrot` by default, or the models of a `pool`, or `remotes`.

    `callers` are by bearer token.
    """
    engine = engine or FakeEngine(parrot)
    observed = RecordKeeper()
    pool = pool or ModelPool.of({} if remotes else {engine.info.name: engine})
    models = models or ServedModels(pool, aliases, {remote.name: remote for remote in remotes})
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
        observers=(*observers, observed.note),
        begins_traces=begins_traces,
        puller=puller,
        fetcher=fetcher,
        responses=responses,
        storage=storage,
        keys=keys,
    )
    server = _Server(app, drain_timeout, tls)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert server.ready.wait(LIMIT_S)
        # Tests with an engine of another class do not use attributes that only the fake engine has.
        served = ApiServer(f"http://127.0.0.1:{address[1]}", address, app, engine, server, observed)  # type: ignore[arg-type]
        try:
            yield served
        finally:
            served.close()
            server.should_exit = True
            thread.join(2 * LIMIT_S)
            assert not thread.is_alive()


class _Callers:
    """An `Authenticator` with callers by their keys; all others are anonymous."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._callers = callers

    def caller(self, key: str | None) -> Caller:
        return self._callers.get(key or "", ANONYMOUS)


class _Server(DrainingServer):
    def __init__(self, app: App, drain_timeout: float, tls: TlsSettings | None) -> None:
        super().__init__(app, drain_timeout, tls)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        """As uvicorn's, but polls more than ten times a second, as every test waits for the stop."""
        await self.on_tick(0)  # sets the date header of responses
        while not self.should_exit:
            await asyncio.sleep(0.005)


def events(stream: bytes) -> list[Any]:
    """The frames of a complete stream, decoded. Fails unless each is one line and the last one is `[DONE]`."""
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
    """The `system_fingerprint` field of OpenAI's answers. Fireworks' answers have none."""
    return {"system_fingerprint": raw["system_fingerprint"]} if DIALECTS[prefix].fingerprints else {}


def strictly(model: type[pydantic.BaseModel], raw: object) -> set[str]:
    """Validate JSON against a type of the SDK, which the SDK itself does not do. Returns the unknown keys."""
    return set(_extras(model.model_validate_json(json.dumps(raw), strict=True)))


def _extras(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, pydantic.BaseModel):
        yield from (path + key for key in value.model_extra or ())
        for name in type(value).model_fields:
            yield from _extras(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list):
        for item in value:
            yield from _extras(item, path)
