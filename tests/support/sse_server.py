"""A server with scripted streaming responses, split into pieces by the test."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

WAIT_S = 20
"""The limit of all waits for immediate events."""


@dataclass(frozen=True)
class Answer:
    """A scripted response: a body in pieces, after which the stream ends or hangs."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    together: asyncio.Barrier | None = None
    """Start once as many requests are in flight as the barrier has parties."""


@dataclass
class ScriptedServer:
    """Sends the n-th answer to the n-th POST, and the last one to all later requests."""

    answers: Sequence[Answer]
    models: Sequence[str] = ("tiny",)
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    """The client's port of each request: one for each connection."""
    disconnected: threading.Event = field(default_factory=threading.Event)
    max_in_flight: int = 0
    _in_flight: int = 0

    def app(self) -> Starlette:
        answered = [Route(f"/v1/{path}", self._answer, methods=["POST"]) for path in _ENDPOINTS]
        return Starlette(routes=[Route("/v1/models", self._list_models), *answered])

    async def _list_models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": model} for model in self.models]})

    async def _answer(self, request: Request) -> Response:
        answer = self.answers[min(len(self.bodies), len(self.answers) - 1)]
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        assert request.client is not None
        self.ports.append(request.client.port)
        pieces = self._pieces(request, answer)
        return StreamingResponse(pieces, answer.status, answer.headers, media_type=answer.content_type)

    async def _pieces(self, request: Request, answer: Answer) -> AsyncIterator[bytes]:
        self._in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            if answer.together:
                await answer.together.wait()
            for piece in answer.pieces:
                yield piece
            if answer.hangs:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                self.disconnected.set()
        finally:
            self._in_flight -= 1


_ENDPOINTS = ("completions", "chat/completions")


@contextmanager
def serving(*answers: Answer, models: Sequence[str] = ("tiny",)) -> Iterator[ScriptedServer]:
    """Run a scripted server on a free port, in a thread."""
    scripted = ScriptedServer(answers or (Answer(completion("Hi")),), models)
    config = uvicorn.Config(scripted.app(), lifespan="off", ws="none", log_config=None)
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        scripted.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        assert server.ready.wait(WAIT_S)
        try:
            yield scripted
        finally:
            server.should_exit = True
            thread.join(WAIT_S)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def unused_url() -> str:
    """A base URL with a closed port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


DONE = b"data: [DONE]\n\n"


def event(value: object) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def text_chunk(text: str, **more: object) -> bytes:
    return event({"choices": [{"index": 0, "text": text, "finish_reason": None}], **more})


def delta_chunk(text: str) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


def finish_chunk(reason: str = "stop", **more: object) -> bytes:
    return event({"choices": [{"index": 0, "text": "", "delta": {}, "finish_reason": reason}], **more})


def usage_chunk(prompt: int, completion: int, cached: int = 0) -> bytes:
    return event({"choices": [], "usage": usage(prompt, completion, cached)})


def usage(prompt: int, completion: int, cached: int = 0) -> dict[str, object]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def completion(*texts: str, prompt: int = 7, tokens: int | None = None) -> list[bytes]:
    """A complete stream of /completions: one chunk per text, the finish chunk, usage and `[DONE]`."""
    counted = len(texts) if tokens is None else tokens
    return [*(text_chunk(text) for text in texts), finish_chunk(), usage_chunk(prompt, counted), DONE]


def chat_completion(*texts: str) -> list[bytes]:
    return [*(delta_chunk(text) for text in texts), finish_chunk(), DONE]


def error_answer(status: int, message: str, **headers: str) -> Answer:
    body = json.dumps({"error": {"message": message}}).encode()
    return Answer([body], status=status, content_type="application/json", headers=headers)
