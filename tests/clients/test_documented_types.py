"""Types of pydantic and zod, as their documentation has them, as response formats with and without `strict`."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, say, serving
from support.client_environments import run_client
from support.documented_types import TYPES
from support.schema_walks import verdict

pytestmark = [pytest.mark.all, pytest.mark.timeout(600)]  # the first test may install a library

PROGRAMS = {"pydantic": "pydantic_types.py", "zod": "zod_types.ts"}
NUM_WALKS = 5

every_type = pytest.mark.parametrize(
    ("library", "name"), [(library, name) for library, types in TYPES.items() for name in types]
)


@cache
def described(library: str) -> dict[str, dict[str, Any]]:
    """The JSON schema of each type and an example, which the library itself accepts."""
    printed: dict[str, dict[str, Any]] = run_client(library, PROGRAMS[library])
    return printed


def post(api: ApiServer, prefix: str, schema: Any, prompt: str, *, strict: bool, **fields: object) -> Any:
    """The choice of an answer; the message of a refusal."""
    wrapped = {"name": "n", "schema": schema, "strict": strict}
    sent = {"response_format": {"type": "json_schema", "json_schema": wrapped}, "max_tokens": 1000, **fields}
    messages = [{"role": "user", "content": prompt}]
    answer = api.post(f"{prefix}/chat/completions", {"model": "fake", "messages": messages, **sent})
    if answer.status_code == 400:
        return answer.json()["error"]["message"]
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


@pytest.mark.parametrize("library", TYPES)
def test_every_type_has_its_verdict(library: str) -> None:
    assert set(described(library)) == set(TYPES[library])


@every_type
def test_a_type_is_served(api: ApiServer, prefix: str, library: str, name: str) -> None:
    one = described(library)[name]
    text = json.dumps(one["example"], ensure_ascii=False)

    choice = post(api, prefix, one["schema"], say(text), strict=False)

    assert not isinstance(choice, str), choice
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")


@every_type
def test_strict_is_served_or_refused_for_a_reason(api: ApiServer, prefix: str, library: str, name: str) -> None:
    one = described(library)[name]
    text = json.dumps(one["example"], ensure_ascii=False)
    expected = TYPES[library][name]

    choice = post(api, prefix, one["schema"], say(text), strict=True)

    if expected is None:
        assert not isinstance(choice, str), choice
        assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")
    else:
        assert isinstance(choice, str)
        assert f"'{expected.keyword}' at '" in choice


@pytest.mark.parametrize("library", TYPES)
def test_random_answers_of_strict_types_are_valid(library: str) -> None:
    with serving(FakeEngine(tokens_per_step=16)) as api:
        for name, refused in TYPES[library].items():
            schema = described(library)[name]["schema"]
            for seed in range(NUM_WALKS if refused is None else 0):
                choice = post(api, "/v1", schema, "Answer.", strict=True, seed=seed)
                text = choice["message"]["content"] if choice["finish_reason"] == "stop" else None
                assert verdict(schema, text) in ("valid", "unfinished"), name
