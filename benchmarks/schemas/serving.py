"""A schema sent to the app in three ways, to be answered by a random walk through its grammar."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, cycle, repeat
from typing import Any

import httpx

from crossette.api.app import App
from crossette.api.models import ServedModels
from crossette.engine import Generation
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import END_OF_TEXT, IM_END
from crossette.types import Constraint, GenerationRequest
from schemas.cases import Case
from schemas.validators import Validators

MAX_TOKENS = 6000
CONTEXT = 2**18
"""A prompt has the parameters of its tool, a token for each byte."""
FREE_TOKENS = 200
"""Tokens after which a walk prefers those that lead to an end."""
ENDING = (IM_END, *b'"}])')


class Way(StrEnum):
    """How a schema is sent."""

    PLAIN = "response format"
    STRICT = "response format, strict"
    TOOL = "tool"


class Outcome(StrEnum):
    """What became of a schema that was sent."""

    SERVED = "served"
    REFUSED = "refused"
    CUT = "cut"
    INVALID = "invalid"
    CONSTRAINT_FAILED = "constraint_failed"
    ERROR = "other 5xx"
    HANG = "hang or crash"


@dataclass(frozen=True)
class Answer:
    """An outcome, and the message of an error or the fault of a text."""

    outcome: Outcome
    detail: str = ""


class Walker(FakeEngine):
    """An engine that generates random texts of a grammar, and remembers the last constraint."""

    def __init__(self) -> None:
        super().__init__(_script, context_length=CONTEXT, tokens_per_step=16)
        self.constraint: Constraint | None = None

    def generate(self, request: GenerationRequest) -> Generation:
        self.constraint = request.constraint
        return super().generate(request)


def _script(request: GenerationRequest, index: int) -> Iterator[int]:
    """A token that is never allowed leaves the choice to chance."""
    free = random.Random(request.sampling.seed).randrange(FREE_TOKENS)
    return chain(repeat(END_OF_TEXT, free), cycle(ENDING))


class Server:
    """The app over one engine, without a socket."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._engine = Walker()
        self._app = App(ServedModels(ModelPool.of({self._engine.info.name: self._engine})))

    def ask(self, case: Case, way: Way) -> tuple[Answer, Constraint | None]:
        """Send a schema. Returns what became of it, and the constraint that the engine got."""
        self._engine.constraint = None
        sampling = {"max_tokens": MAX_TOKENS, "seed": self._seed}
        response = asyncio.run(self._post(request_body(case, way, self._engine.info.name) | sampling))
        return answer_of(case, response), self._engine.constraint

    async def _post(self, body: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://bench", timeout=None) as client:
            return await client.post("/v1/chat/completions", json=body)


def request_body(case: Case, way: Way, model: str) -> dict[str, Any]:
    """The request that sends a schema, without sampling parameters."""
    body = {"model": model, "messages": [{"role": "user", "content": "Answer."}]}
    if way == Way.TOOL:
        function = {"name": "f", "parameters": case.schema}
        named = {"type": "function", "function": {"name": "f"}}
        return body | {"tools": [{"type": "function", "function": function}], "tool_choice": named}
    wrapped = {"name": "n", "schema": case.schema, "strict": way == Way.STRICT}
    return body | {"response_format": {"type": "json_schema", "json_schema": wrapped}}


def answer_of(case: Case, response: httpx.Response) -> Answer:
    """What became of a schema, by the response of the server."""
    if response.status_code == 200:
        return _generated(case, response.json()["choices"][0])
    if response.status_code < 500:
        return Answer(Outcome.REFUSED, response.json()["error"]["message"])
    error = response.json()["error"] if response.content.startswith(b"{") else {"message": response.text}
    failed = error.get("code") == "constraint_failed"
    return Answer(Outcome.CONSTRAINT_FAILED if failed else Outcome.ERROR, str(error["message"]))


def _generated(case: Case, choice: dict[str, Any]) -> Answer:
    if choice["finish_reason"] == "length":
        return Answer(Outcome.CUT)
    message = choice["message"]
    text = message["tool_calls"][0]["function"]["arguments"] if message.get("tool_calls") else message["content"]
    fault = Validators(case.schema).fault(text)
    return Answer(Outcome.INVALID, f"{fault}: {text[:300]}") if fault else Answer(Outcome.SERVED)
