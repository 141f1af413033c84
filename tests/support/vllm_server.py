"""A server that speaks vLLM's protocol, with the fake engine in the place of a model.

Its messages are those recorded from a real vLLM, with other values. As a program it takes the arguments of `vllm`.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from crossette.engines.vllm import wire
from crossette.errors import InvalidRequest, ServingError
from crossette.testing.fake_engine import FakeEngine
from crossette.types import Constraint, GenerationRequest, Logprob, SamplingParams, TokenOutput
from support.engine_calls import MAX_SEQUENCES, TINY_CONTEXT
from support.record_vllm import RECORDINGS

LIMIT_S = 20
STEP_S = 0.002

_RECORDED = json.loads(RECORDINGS.read_text(encoding="utf-8"))
_ids = count()

Json = dict[str, Any]  # Any: JSON


class FakeVllm:
    """The application. `engine` generates; `requests` are the bodies that it was sent."""

    def __init__(self, *, key: str = "", version: str = "", scale_out: bool = True) -> None:
        self.engine = FakeEngine(context_length=TINY_CONTEXT, max_sequences=MAX_SEQUENCES)
        self.engine.pause()  # `_step` runs it, at the pace of a small model
        self._is_stepping = False
        self.requests: list[Json] = []
        self.is_healthy = True
        self.sends_at_once = False
        """Whether a stream arrives in one piece, as for a client that gets no CPU while it is generated."""
        self._key = key
        self._version = version or _RECORDED["version"]["version"]
        routes = [
            Route("/health", self._health),
            Route("/version", self._get_version),
            Route("/v1/models", self._models),
            Route("/metrics", self._metrics),
        ]
        if scale_out:
            routes.append(Route(wire.PATH, self._generate, methods=["POST"]))
        self.app = Starlette(routes=routes)

    async def _health(self, request: Request) -> Response:
        return Response(status_code=200 if self.is_healthy else 503)

    async def _get_version(self, request: Request) -> Response:
        return JSONResponse({"version": self._version})

    async def _models(self, request: Request) -> Response:
        return JSONResponse(_RECORDED["models"]) if self._may(request) else Response(status_code=401)

    async def _metrics(self, request: Request) -> Response:
        return PlainTextResponse(f"# TYPE vllm:cache_config_info gauge\n{_RECORDED['cache']}\n")

    def _may(self, request: Request) -> bool:
        return not self._key or request.headers.get("authorization") == f"Bearer {self._key}"

    async def _generate(self, request: Request) -> Response:
        if not self._may(request):
            return Response(status_code=401)
        body = await request.json()
        self.requests.append(body)
        if body["sampling_params"].get("max_tokens") == 0:
            return JSONResponse(_RECORDED["refused"]["body"], status_code=400)
        outputs = self._outputs(body)
        if body.get("stream"):
            events = _events(body, outputs)
            return StreamingResponse(_joined(events) if self.sends_at_once else events, media_type="text/event-stream")
        try:
            return JSONResponse(_whole(body, [output async for output in outputs]))
        except ServingError as error:
            return JSONResponse(_error(error), status_code=error.status)

    async def _outputs(self, body: Json) -> AsyncIterator[TokenOutput]:
        generation = self.engine.generate(_request(body))
        if not self._is_stepping:
            self._step()
        try:
            async for output in generation:
                yield output
        finally:
            await generation.aclose()

    def _step(self) -> None:
        self.engine.step()
        stats = self.engine.stats()
        self._is_stepping = bool(stats.running or stats.waiting)
        if self._is_stepping:
            asyncio.get_running_loop().call_later(STEP_S, self._step)


def _request(body: Json) -> GenerationRequest:
    given = body["sampling_params"]
    grammar = given.get("structured_outputs", {}).get("grammar")
    return GenerationRequest(
        id=f"vllm-{next(_ids)}",
        prompt=tuple(body["token_ids"]),
        sampling=SamplingParams(given["max_tokens"], temperature=given.get("temperature", 1.0), seed=given.get("seed")),
        end_token_ids=frozenset(given.get("stop_token_ids", ())),
        logprobs=given.get("logprobs"),
        prompt_logprobs="prompt_logprobs" in given,
        constraint=Constraint("lark", grammar) if grammar else None,
    )


async def _events(body: Json, outputs: AsyncIterator[TokenOutput]) -> AsyncIterator[str]:
    """A stream as recorded, with these outputs."""
    recorded = _RECORDED["stream_with_logprobs" if "logprobs" in body["sampling_params"] else "stream"]["events"]
    *_, last, usage, _ = [event.removeprefix("data: ") for event in recorded]
    try:
        async with aclosing(outputs):  # type: ignore[type-var]  # an async generator
            async for output in outputs:
                event = json.loads(last if output.finish_reason else recorded[0].removeprefix("data: "))
                _fill(event["choices"][0], output)
                yield f"data: {json.dumps(event)}\n\n"
        yield f"data: {usage}\n\n"
    except ServingError as error:
        yield f"data: {json.dumps(_error(error))}\n\n"
    yield "data: [DONE]\n\n"


async def _joined(events: AsyncIterator[str]) -> AsyncIterator[str]:
    yield "".join([event async for event in events])


def _whole(body: Json, outputs: list[TokenOutput]) -> Json:
    """An answer as recorded, with these outputs."""
    answer: Json = copy.deepcopy(_RECORDED["whole"]["body"])
    tokens = tuple(token for output in outputs for token in output.token_ids)
    scored = tuple(one for output in outputs for one in output.logprobs or ())
    _fill(answer["choices"][0], TokenOutput(0, tokens, outputs[-1].finish_reason, logprobs=scored or None))
    prompt = [one for output in outputs for one in output.prompt_logprobs or ()]
    answer["prompt_logprobs"] = [None, *map(_scored, prompt)] if "prompt_logprobs" in body["sampling_params"] else None
    return answer


def _fill(choice: Json, output: TokenOutput) -> None:
    choice["token_ids"] = list(output.token_ids)
    choice["finish_reason"] = output.finish_reason
    if output.logprobs is None:
        choice["logprobs"] = None
    else:
        choice["logprobs"] = {"content": [_position(one) for one in output.logprobs]}


def _position(logprob: Logprob) -> Json:
    own = {"token_id": logprob.token_id, "logprob": logprob.logprob, "rank": 1}
    top = [{"token_id": token, "logprob": value, "rank": i + 1} for i, (token, value) in enumerate(logprob.top)]
    return own | {"top_logprobs": [own, *top[1:]]}


def _scored(logprob: Logprob) -> Json:
    candidates = {logprob.token_id: logprob.logprob, **dict(logprob.top)}
    return {
        str(token): {"logprob": value, "rank": i + 1, "decoded_token": None}
        for i, (token, value) in enumerate(candidates.items())
    }


def _error(error: ServingError) -> Json:
    kind = "BadRequestError" if isinstance(error, InvalidRequest) else "InternalServerError"
    return {"error": {"message": error.message, "type": kind, "param": None, "code": error.status}}


@contextmanager
def running(vllm: FakeVllm, listener: socket.socket | None = None) -> Iterator[str]:
    """Run the server in a thread. Yields its URL."""
    with listener or socket.create_server(("127.0.0.1", 0)) as listening:
        server = _server(vllm)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(LIMIT_S)
            assert not thread.is_alive()


def _server(vllm: FakeVllm) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(vllm.app, log_level="error", lifespan="off", timeout_graceful_shutdown=2))


def write_program(folder: Path) -> str:
    """Write a program that takes the arguments of `vllm`. Returns its path."""
    script = folder / "vllm"
    paths = os.pathsep.join(sys.path)
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{paths}" exec "{sys.executable}" -m support.vllm_server "$@"\n')
    script.chmod(0o755)
    return str(script)


def main(arguments: list[str], environ: Mapping[str, str]) -> None:
    """Serve as `vllm serve` does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--enable-scale-out", action="store_true")
    parser.add_argument("--fail", action="store_true")
    parser.add_argument("--load-forever", action="store_true")
    given, others = parser.parse_known_args(arguments)
    print("arguments:", given.model, *others, flush=True)
    if given.fail:
        sys.exit("the model does not fit")
    if given.load_forever:
        threading.Event().wait()
    with socket.create_server(("127.0.0.1", given.port)) as listener:
        vllm = FakeVllm(key=environ.get("VLLM_API_KEY", ""), scale_out=given.enable_scale_out)
        _server(vllm).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)
