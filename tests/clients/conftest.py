"""The two servers that every client talks to, and what each client was told: asked once for all tests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from typing import NamedTuple

import pytest

from crossette.engine import Generation
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.errors import ServingError, ShuttingDown
from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.api_server import ALIASES, ApiServer, parrot, say, serving
from support.client_environments import run_client
from support.client_programs import Client
from support.client_promises import STARCODER
from support.client_tools import ORDERS
from support.compatibility_page import PRINTED, Results

WINDOW = 4096


class TooManyRequests(ServingError):
    status = 429
    kind = "overloaded"


REFUSALS: dict[str, Callable[[str], ServingError]] = {
    "429": TooManyRequests,
    "503": partial(ShuttingDown, retry_after=0.1),
}


class MoodyEngine(FakeEngine):
    """A parrot that refuses every other request that says so, and breaks in the middle of one that says so."""

    def __init__(self) -> None:
        super().__init__(self._say, context_length=WINDOW)
        self._refused: set[str] = set()

    def generate(self, request: GenerationRequest) -> Generation:
        prompt = bytes(min(token, 255) for token in request.prompt).decode("latin-1")
        asked = re.search(r"refuse: (\d+)", prompt)
        if asked and prompt not in self._refused:
            self._refused.add(prompt)
            raise REFUSALS[asked[1]]("Not now. Retry in a moment.")
        self._refused.discard(prompt)
        return super().generate(request)

    def _say(self, request: GenerationRequest, index: int) -> Iterator[int]:
        if b"break: " not in bytes(min(token, 255) for token in request.prompt):
            yield from parrot(request, index)
            return
        yield from b"Hal"
        self.fail_next_step(RuntimeError("as the test asked"))
        yield from b"f an answer"


class Servers(NamedTuple):
    fake: ApiServer
    real: ApiServer
    real_model: str

    def asked(self) -> str:
        """What a client is to ask, as JSON: the argument of its program."""
        return json.dumps(
            {
                "root": self.fake.root,
                "model": "fake",
                "prompt": say("one, two, three"),
                "stop": "two",
                "slashed": STARCODER,
                "broken": "break: now",
                "refused": {status: f"refuse: {status} {say('fine')}" for status in REFUSALS},
                "long": "x" * WINDOW,
                "real_root": self.real.root,
                "real_model": self.real_model,
                "question": "What is the capital of France?",
                "orders": ORDERS,
            }
        )


@pytest.fixture(scope="session")
def servers(real_engine: OpenVINOEngine) -> Iterator[Servers]:
    with ExitStack() as stack:
        fake = stack.enter_context(serving(MoodyEngine(), aliases=ALIASES))
        real = stack.enter_context(serving(real_engine, aliases={STARCODER: real_engine.info.name}))
        yield Servers(fake, real, real_engine.info.name)


@pytest.fixture(scope="session")
def told(servers: Servers) -> Callable[[Client], Results]:
    """What a client was told. Each program runs once."""

    @cache
    def run(client: Client) -> Results:
        script, *arguments = client.program
        answered: Results = run_client(client.environment, script, servers.asked(), *arguments)
        return answered

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the page, if the clients ran."""
    if PRINTED in config.stash:
        terminalreporter.section("docs/compatibility.md")
        terminalreporter.write_line(config.stash[PRINTED])
