"""The two servers that every client talks to, and what each client was told: asked once for all tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import NamedTuple

import pytest

from crossette.engines.openvino.engine import OpenVINOEngine
from support.api_server import ALIASES, ApiServer, say, serving
from support.client_environments import run_client
from support.client_programs import Client
from support.client_promises import STARCODER
from support.client_tools import ORDERS
from support.compatibility_page import PRINTED, Results
from support.moody_engine import REFUSALS, WINDOW, MoodyEngine


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
                "question": "Name the capital of France.",
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
