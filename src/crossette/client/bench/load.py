"""The closed loop of the benchmark: each stream sends a request, reads its response and sends the next."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import msgspec

from crossette.client.bench.connection import Connection, ConnectionFailed
from crossette.client.bench.options import BenchOptions
from crossette.client.bench.prompts import Prompt, Prompts
from crossette.client.bench.report import BenchReport, LevelSummary
from crossette.client.bench.request import RequestResult, stream_request
from crossette.client.remote import error_text
from crossette.errors import ConfigError


def run_bench(options: BenchOptions, on_level: Callable[[LevelSummary], None] = lambda level: None) -> BenchReport:
    """Run all levels of concurrency in sequence; `on_level` is called after each.

    Failed requests are counted. Raises ConfigError if no model is given and the server lists none.
    """
    return asyncio.run(_run(options, on_level))


async def _run(options: BenchOptions, on_level: Callable[[LevelSummary], None]) -> BenchReport:
    model = options.model or await _first_model(options)
    seed = random.randrange(10**6) if options.seed is None else options.seed
    run = _Run(options.resolved(model, seed))
    report = BenchReport(run.options)
    for concurrency in options.concurrency:
        on_level(report.add(concurrency, await run.level(concurrency)))
    return report


class _Run:
    """Sends the requests of all levels. Each has a different prompt, to exclude hits in the prefix cache."""

    def __init__(self, options: BenchOptions) -> None:
        self.options = options
        self._prompts = Prompts(
            options.shape, options.num_prompt_tokens, options.seed or 0, token_ids=options.token_ids
        )
        self._num_sent = 0

    async def level(self, concurrency: int) -> list[RequestResult]:
        """The results of one level, after a warm-up request that is not counted."""
        await self._stream(1, limit=1)
        return await self._stream(concurrency, self.options.requests_at(concurrency))

    async def _stream(self, num_streams: int, limit: int) -> list[RequestResult]:
        results: list[RequestResult] = []
        numbers = islice(self._numbers(), limit)

        async def stream() -> None:
            with closing(Connection(self.options.address(), _headers(self.options))) as connection:
                for number in numbers:
                    results.append(await self._request(connection, number))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(num_streams, limit)):
                group.create_task(stream())
        return results

    async def _request(self, connection: Connection, number: int) -> RequestResult:
        body = msgspec.json.encode(_body(self.options, self._prompts[number]))
        path = f"/{self.options.endpoint}"
        return await stream_request(connection, path, body, timeout_s=self.options.timeout_s)

    def _numbers(self) -> Iterator[int]:
        while True:
            self._num_sent += 1
            yield self._num_sent - 1


def _headers(options: BenchOptions) -> dict[str, str]:
    headers = {"content-type": "application/json", "user-agent": "crossette-bench"}
    if options.api_key:
        headers["authorization"] = f"Bearer {options.api_key}"
    return headers


def _body(options: BenchOptions, prompt: Prompt) -> dict[str, Any]:
    """The request body; with `ignore_eos` only if requested, as not every server supports it."""
    body: dict[str, Any] = {
        "model": options.model,
        **_input(options, prompt),
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return body | {"ignore_eos": True} if options.ignore_eos else body


def _input(options: BenchOptions, prompt: Prompt) -> dict[str, Any]:
    if options.endpoint == "completions":
        return {"prompt": prompt.ids or "\n\n".join(filter(None, (prompt.shared, prompt.own)))}
    system = [{"role": "system", "content": prompt.shared}] if prompt.shared else []
    return {"messages": [*system, {"role": "user", "content": prompt.own}]}


async def _first_model(options: BenchOptions) -> str:
    connection = Connection(options.address(), _headers(options))
    try:
        async with asyncio.timeout(options.timeout_s):
            response = await connection.request("GET", "/models")
            body = await response.read()
    except ConnectionFailed as error:
        raise ConfigError(f"Can't list the models of {options.url}. {error}") from error
    except TimeoutError as error:
        raise ConfigError(f"{options.url} did not respond within {options.timeout_s:g} s.") from error
    finally:
        connection.close()
    if response.status != 200:
        raise ConfigError(
            f"{options.base}/models returned {response.status}: {error_text(body)} "
            "Check the base URL (most end in /v1) and give an --api-key if one is required, or give a --model."
        )
    return _first_id(body, options.base)


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def _first_id(body: bytes, url: str) -> str:
    try:
        models = msgspec.json.decode(body, type=_Models).data
    except msgspec.DecodeError as error:
        raise ConfigError(f"{url}/models did not return a list of models. Give a --model.") from error
    if not models:
        raise ConfigError(f"{url}/models lists no model. Give a --model, or start the server with one.")
    return models[0].id
