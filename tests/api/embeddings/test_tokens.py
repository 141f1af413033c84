"""Endpoints of tokenizers, asked for an embedding model."""

from __future__ import annotations

from typing import Any

import pytest

from support.api_server import ApiServer
from support.embedders import error_of

USER = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "tokenize": {"prompt": "Hi"},
    "detokenize": {"tokens": [1]},
    "apply-template": {"messages": USER},
    "responses/input_tokens": {"input": "Hi"},
}


@pytest.mark.parametrize("path", BODIES)
def test_a_model_that_generates_no_text_is_refused(server: ApiServer, prefix: str, path: str) -> None:
    answer = server.post(f"{prefix}/{path}", {"model": "tiny", **BODIES[path]})

    status, param, text = error_of(answer)
    assert (status, param) == (400, "model")
    assert "'tiny' is an embedding model" in text


def test_so_is_one_whose_messages_are_counted(server: ApiServer, prefix: str) -> None:
    answer = server.post(f"{prefix}/messages/count_tokens", {"model": "tiny", "messages": USER})

    assert answer.status_code == 400
    assert "'tiny' is an embedding model" in answer.json()["error"]["message"]
