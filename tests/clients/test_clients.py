"""Programs that were written for OpenAI or Fireworks, unchanged but for the base URL.

Every program does the same things with its client, for every base URL that the client may be given, and tells what
the client gave it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from support.api_server import LIMIT_S, ApiServer
from support.client_environments import PINS, python_of, typecheck, unpinned
from support.client_programs import CLIENTS, Client
from support.client_promises import promises
from support.compatibility_page import PAGE, PRINTED, SCENARIOS, Results, page

pytestmark = [pytest.mark.all, pytest.mark.timeout(1200)]  # the first test may install all

README = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")

Run = Callable[[Client], Results]


class Servers(Protocol):
    """The fixture, as far as tests use it themselves."""

    @property
    def real(self) -> ApiServer: ...


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_is_told_what_each_dialect_promises(told: Run, name: str) -> None:
    for base, answered in told(CLIENTS[name]).items():
        promised = promises(name, base)
        assert answered == {scenario: promised.get(scenario) for scenario in answered}, base


def test_the_page_says_what_the_clients_did(told: Run, pytestconfig: pytest.Config) -> None:
    text = page({client: told(client) for client in CLIENTS.values()})

    pytestconfig.stash[PRINTED] = text
    if pytestconfig.getoption("--write-docs"):
        PAGE.write_text(text, encoding="utf-8")
    assert text == PAGE.read_text(encoding="utf-8"), "scripts/test --all --write-docs tests/clients writes it"


def test_the_page_has_a_line_for_everything_that_is_done(told: Run) -> None:
    done = {scenario for client in CLIENTS.values() for answered in told(client).values() for scenario in answered}

    assert done == set(SCENARIOS)


@pytest.mark.parametrize(("language", "number"), [("sh", 1), ("python", 0)])
def test_the_first_requests_in_the_readme_work(servers: Servers, language: str, number: int) -> None:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    code = blocks[number].replace("http://127.0.0.1:8000", servers.real.root)
    program = ["sh", "-c"] if language == "sh" else [str(python_of("openai_3")), "-c"]

    ran = subprocess.run([*program, code], capture_output=True, encoding="utf-8", timeout=LIMIT_S)

    assert "Paris" in ran.stdout, ran.stderr


@pytest.mark.parametrize("environment", [*PINS["python"], *PINS["npm"]])
def test_nothing_in_an_environment_changes_by_itself(environment: str) -> None:
    assert unpinned(environment) == set()


@pytest.mark.parametrize(("environment", "program"), [("openai_js", "openai_js.ts"), ("ai_sdk", "ai_sdk.ts")])
def test_the_typescript_programs_compile(environment: str, program: str) -> None:
    assert typecheck(environment, program) == ""
