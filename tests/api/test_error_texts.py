"""Errors tell callers what callers can do. What an operator can change is in the log."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import crossette
from crossette import errors
from crossette.accounts.access import Caller
from crossette.api.guards.admission import AdmissionController
from crossette.api.guards.origins import OriginSettings
from crossette.api.guards.queue_wait import QueueSettings
from crossette.errors import ServingError
from crossette.testing.fake_engine import FakeEngine
from support.api_server import has, parrot, say, serving

ROOT = Path(crossette.__file__).parent
OF_OPERATORS = re.compile(r"--[a-z]|CROSSETTE_|\bcrossette [a-z]+ [a-z]+|\blog\b|\.(?:toml|db|json)\b|start the server")
BODY = {"model": "fake", "prompt": say("a")}


def serving_errors() -> set[str]:
    """The names of all classes and functions in `errors` that make an error for callers."""
    made = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, ServingError)}
    return made | {"invalid_value"}


def messages() -> Iterator[tuple[str, str]]:
    """Every literal text in the message of an error for callers, with its file and line."""
    names = serving_errors()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args:
                texts = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
                yield f"{path.relative_to(ROOT)}:{node.lineno}", " ".join(map(str, texts))


def test_no_error_for_callers_names_flags_files_or_commands_of_the_operator() -> None:
    found = dict(messages())

    assert len(found) > 100
    # The 404 of a model: a client of a local server is often its operator, and an alias is the answer.
    named = [where for where, text in found.items() if OF_OPERATORS.search(text) and "--alias NAME=MODEL" not in text]
    assert named == []


@pytest.mark.parametrize("prefix_", ["/v1", "/inference/v1"])
def test_what_an_operator_can_change_is_in_the_log_only(prefix_: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    origins = OriginSettings(allowed_host=("127.0.0.1",))
    user = {"user": Caller("key-u", "user")}
    with serving(callers=user, origins=origins, max_body_bytes=200, max_messages=1, max_schema_bytes=50) as api:
        path, key = f"{prefix_}/completions", {"x-api-key": "user"}
        chat = {"model": "fake", "messages": [{"role": "user", "content": "a"}] * 2}
        answers = [
            api.post(path, BODY, {"origin": "https://evil.example"}),
            api.post(path, BODY, {"host": "evil.example"}),
            api.post(path, BODY | {"user": "x" * 200}),
            api.post(f"{prefix_}/chat/completions", chat),
            api.post(path, BODY | {"guided_regex": "a" * 60}),
            api.get("/metrics", key),
            api.get(f"{prefix_}/usage", key),
        ]
        api.observed.wait_for(6)

    flags = [
        "--cors-origin",
        "--allowed-host",
        "--max-body-bytes",
        "--max-messages",
        "--max-schema-bytes",
        "keys create",
    ]
    for answer, flag in zip(answers, [*flags, "keys create"], strict=True):
        assert answer.status_code in (400, 403, 413)
        assert flag not in answer.text
        assert "hint" not in answer.json()["error"]
        (line,) = [line for line in caplog.messages if f" {answer.status_code} " in line and flag in line][-1:]
        assert line.endswith(")")


def test_a_full_queue_names_its_limit_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    engine = FakeEngine(parrot, max_sequences=1)
    engine.pause()
    with serving(engine, admissions=AdmissionController(queue=QueueSettings(max_waiting=1))) as api:
        with closing(api.begin("/v1/completions", BODY)):
            engine.wait_for(has(waiting=1))
            refused = api.post("/v1/completions", BODY)
            api.observed.wait_for(1)
        engine.resume()

    assert refused.status_code == 503
    assert "--max" not in refused.text
    assert any("(--max-waiting is the limit)" in line for line in caplog.messages)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_failure_of_an_engine_does_not_name_the_log(streamed: bool) -> None:
    engine = FakeEngine()
    with serving(engine) as api:
        engine.fail_next_step(RuntimeError("kernel broke"))
        answer = api.post("/v1/completions", {"model": "fake", "prompt": "a", "stream": streamed})

    assert "Retry the request." in answer.text
    assert "log" not in answer.json()["error"]["message"]
