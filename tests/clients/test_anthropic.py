"""Programs for Anthropic's API, unchanged but for the base URL: its SDKs, Fireworks' SDK, and Claude Code."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, in_turns, parrot, say, serving
from support.client_environments import npm_folder, run_client, typecheck
from support.client_promises import Matching
from support.client_tools import ORDERS, PLACE
from support.client_tools import promises as promises_of_tools
from support.moody_engine import REFUSALS, WINDOW, MoodyEngine
from support.reasoning_engine import ReasoningEngine

pytestmark = [pytest.mark.all, pytest.mark.timeout(1200)]  # the first test may install all

ANSWER = {"text": "one, two, three", "stop": ["end_turn", None], "usage": [39, 15]}
TOOLS = {name: promises_of_tools()[name] for name in ("agent loop", "agent loop stream", "calls at once")}
COMMON = {
    "message": ANSWER,
    "stream": ANSWER,
    "stop sequence": {"text": "one, ", "stop": ["stop_sequence", "two"], "usage": [39, 8]},
    "count": True,
    "broken stream": {"text": "Half", "type": "api_error"},
    **TOOLS,
}
PROMISED: dict[str, dict[str, Any]] = {
    "anthropic": {
        **COMMON,
        "raw stream": [
            *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
            *("message_delta", "message_stop"),
        ],
        "async": [ANSWER, ANSWER],
        "typed answer": PLACE,
        "thinking": ["Hm.", "Four."],
        "thinking stream": ["Hm.", "Four."],
        "errors": [
            *(["400", "invalid_request_error"], ["400", "invalid_request_error"]),
            *(["404", "not_found_error"], ["404", "not_found_error"]),
        ],
        "retries": ["fine", "fine"],
        "real model": Matching("Paris"),
        "environment variables": "hi",
    },
    "anthropic_js": {**COMMON, "errors": [404, "not_found_error"]},
    "fireworks": {
        "message": ["one, ", "stop_sequence", "two", 39],
        "call": [["weather", {"city": "Yamoussoukro", "unit": "celsius"}]],
        "stream": [
            *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
            *("message_delta", "message_stop"),
        ],
        "error": "not_found_error",
    },
}
PROGRAMS = {"anthropic": "anthropic_sdk.py", "anthropic_js": "anthropic_js.ts", "fireworks": "fireworks_messages.py"}


class Servers(NamedTuple):
    fake: ApiServer
    reasoner: ApiServer
    real: ApiServer


@pytest.fixture(scope="module")
def all_servers(real_engine: OpenVINOEngine) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(
            stack.enter_context(serving(MoodyEngine())),
            stack.enter_context(serving(ReasoningEngine("<think>Hm.</think>Four.").engine)),
            stack.enter_context(serving(real_engine)),
        )


@pytest.mark.parametrize("client", PROGRAMS)
def test_a_client_is_told_what_is_promised(all_servers: Servers, client: str) -> None:
    asked = {
        "root": all_servers.fake.root,
        "reasoner": all_servers.reasoner.root,
        "real_root": all_servers.real.root,
        "real_model": all_servers.real.engine.info.name,
        "question": "Name the capital of France.",
        "model": "fake",
        "prompt": say("one, two, three"),
        "stop": "two",
        "broken": "break: now",
        "refused": {status: f"refuse: {status} {say('fine')}" for status in REFUSALS},
        "long": "x" * WINDOW,
        "orders": ORDERS,
    }
    told = run_client(client, PROGRAMS[client], json.dumps(asked))

    for base, answered in told.items():
        assert answered == PROMISED[client], base


def test_the_typescript_program_compiles() -> None:
    assert typecheck("anthropic_js", "anthropic_js.ts") == ""


# --- Claude Code ---

CLAUDE_S = 120
BASH = """<tool_call>
{"name": "Bash", "arguments": {"command": "echo forty-two", "description": "Say a number"}}
</tool_call>"""


@pytest.fixture(scope="module")
def roomy() -> Iterator[ApiServer]:
    """The tools and instructions of Claude Code have tens of thousands of bytes, and here each is a token."""
    with serving(FakeEngine(parrot, context_length=2**19)) as server:
        yield server


def claude(server: ApiServer, prefix: str, home: Path, prompt: str, *options: str) -> dict[str, Any]:
    """The result of Claude Code's headless mode."""
    program = npm_folder("claude_code") / "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
    own = {
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": server.root + prefix.removesuffix("/v1"),
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_MODEL": "fake",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "fake",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC", "CLAUDE"))}
    command = [str(program), "-p", prompt, "--output-format", "json", *options]
    ran = subprocess.run(
        command, cwd=home, env=clean | own, capture_output=True, text=True, timeout=CLAUDE_S, stdin=subprocess.DEVNULL
    )
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def test_claude_code_gets_an_answer(roomy: ApiServer, prefix: str, tmp_path: Path) -> None:
    result = claude(roomy, prefix, tmp_path, say("Hello from here"))

    assert (result["is_error"], result["result"], result["num_turns"]) == (False, "Hello from here", 1)


def test_claude_code_runs_a_tool(roomy: ApiServer, prefix: str, tmp_path: Path) -> None:
    order = in_turns(f"Let me see. {BASH}", "It said $1.")
    result = claude(roomy, prefix, tmp_path, order, "--allowedTools", "Bash(echo:*)")

    assert (result["is_error"], result["result"], result["num_turns"]) == (False, "It said forty-two.", 2)
