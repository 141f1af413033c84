"""Programs that were written for OpenAI or Fireworks, unchanged but for the base URL.

Every script asks both dialects the same: a completion and a chat, whole and streamed, with a stop string; and for a
model that is not there. It prints what its client gave it.
"""

from __future__ import annotations

from typing import Any

import pytest

from api_server import ApiServer
from client_environments import run_client

pytestmark = [pytest.mark.all, pytest.mark.timeout(600)]


def expected(text: str, *, usage_in_stream: bool, code: str) -> dict[str, Any]:
    """What a client must have been told: text, reason, and prompt and completion tokens where they are counted."""

    def answer(prompt_tokens: int, *, counted: bool) -> dict[str, Any]:
        return {"text": text, "finish_reason": "stop", "usage": [prompt_tokens, 8] if counted else None}

    return {
        "completion": answer(20, counted=True),
        "completion_stream": answer(20, counted=usage_in_stream),
        "chat": answer(39, counted=True),
        "chat_stream": answer(39, counted=usage_in_stream),
        "error": [404, code, "model"],
    }


EXPECTED = {
    "/v1": expected("one, ", usage_in_stream=False, code="model_not_found"),
    "/inference/v1": expected("one, two", usage_in_stream=True, code="NOT_FOUND"),
}


@pytest.mark.parametrize("client", ["openai_1", "openai_js"])
def test_a_client_is_told_what_each_dialect_promises(api: ApiServer, client: str) -> None:
    assert run_client(client, api.root) == EXPECTED


def test_the_sdk_of_2023_works_as_fireworks_page_of_that_year_shows(api: ApiServer) -> None:
    told = run_client("openai_0", api.root)

    per_request = told.pop("per_request")
    assert told == EXPECTED
    assert per_request == {
        "text": "one, two",
        "model": "accounts/fireworks/models/starcoder-16b-w8a16",
        "usages": [*[None] * (per_request["chunks"] - 1), [20, 8]],
        "chunks": per_request["chunks"],
    }
