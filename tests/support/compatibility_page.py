"""docs/compatibility.md, generated from the results of the clients in a test run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.client_programs import Client

PAGE = Path(__file__).parents[2] / "docs/compatibility.md"

Results = Mapping[str, Mapping[str, Any]]
"""The results of a client in each scenario, by the path of its base URL."""

PRINTED = pytest.StashKey[str]()
"""The page, kept for the end of the test output."""

SCENARIOS = {
    "completion": "`/completions`",
    "completion stream": "`/completions`, streamed",
    "chat": "`/chat/completions`",
    "chat stream": "`/chat/completions`, streamed",
    "async": "The asynchronous client, with and without streaming",
    "batch": "Several prompts at once",
    "token ids": "Several prompts of token ids in one request",
    "usage in every chunk": "Usage read from the chunks, as the page of 2023 shows",
    "usage on request": "Usage in streams with `include_usage`",
    "example of the page": "The example of the page of 2023, verbatim",
    "example of the page, real model": "The same, answered by a real model",
    "settings of one request": "Base URL and key given with one request",
    "environment variables": "Base URL and key from the environment",
    "models": "Models listed; one with slashes in its name retrieved",
    "replayed message": "An answer's message object sent back as a turn",
    "nulls": "Explicit nulls for optional fields",
    "fields beyond the SDK": "Fields that the client has no name for (`top_k`, `min_p`, …)",
    "strict types": "Raw JSON validated strictly against the client's own types",
    "unknown model": "404 for an unknown model",
    "bad value": "400 for a bad value",
    "prompt too long": "400 for a prompt that does not fit",
    "retries": "Retries after 429 and 503",
    "told to retry": "429 and 503, raised as such",
    "broken stream": "An error in the middle of a stream",
    "real model": "The capital of France, from a real model",
    "json object": "JSON mode",
    "typed answer": "An answer of a type of the program's: pydantic, zod, or a schema",
    "typed answer stream": "The same, streamed",
    "typed answer, real model": "The same, from a real model at temperature 1",
    "typed call": "Such an answer as the arguments of a call",
    "typed call stream": "The same, streamed",
    "second try": "Asked again where the program's type rejects an answer",
    "call": "A tool called",
    "call stream": "A tool called, streamed",
    "call stream joined": "The events of `stream()`, which joins the pieces of calls",
    "calls at once": "Two tools called at once, and their results sent back",
    "tool choice": "`tool_choice`: `auto`, `none`, `required` (or `any`), a name",
    "tool choice, real model": "A tool by name, from a real model at temperature 1",
    "agent loop": "An agent that uses two tools, the second with the first's result, and ends in an answer",
    "agent loop stream": "The same, streamed",
}

HEAD = """\
# Compatibility

Programs written for OpenAI or Fireworks, run against crossette with only the base URL changed.
`scripts/test --all` runs each in its own environment, and compares its results with the expected ones.
It prints this page; `scripts/test --all --write-docs tests/clients` writes it.
All versions are in `tests/clients/versions.toml`.
Base URLs under `/inference` use Fireworks' dialect, the others OpenAI's.
Clients of other endpoints are in their pages:
[Responses](responses.md), [Messages](messages.md), [embeddings](embeddings.md), [batches](batches.md).
"""

NOTES = """\
## Worth knowing

- `fireworks-ai` and `ChatFireworks` do not raise when a stream ends early: it ends without a `finish_reason`.
- `openai` 0.28 does not retry by itself. Its tools are `functions`, and their choice is `function_call`.
- The AI SDK's completion models turn a prompt into a transcript, and stop where the next turn begins.
- Answers have keys that an SDK's types do not have, such as `token_id` beside a logprob under `/inference/v1`.
- `lm-eval` 0.4.11 and 0.4.13 run with `local-completions` and `local-chat-completions`. Under `/inference/v1` \
generated texts include their stop string: `--gen_kwargs include_stop_str_in_output=false` cuts it.
- `openapi-python-client`, and `openapi-typescript` with `openapi-fetch`, make clients from `/openapi.json`. \
In TypeScript, `createClient<paths, "application/json">` selects the answers that are not streams.
"""


def page(results: Mapping[Client, Results]) -> str:
    return "\n".join([HEAD, *_bases(results), "", *_matrix(results), "", NOTES])


def _bases(results: Mapping[Client, Results]) -> Iterator[str]:
    yield from ("## Clients", "", "| client | base URLs |", "|---|---|")
    for client, answered in results.items():
        bases = ", ".join(f"`{base}`" if base else "the bare root" for base in answered)
        yield f"| {client.title} | {bases} |"


def _matrix(results: Mapping[Client, Results]) -> Iterator[str]:
    """The scenarios that a client completed with every base URL."""
    did = {client: set.intersection(*map(set, answered.values())) for client, answered in results.items()}
    yield from ("## What each did", "", _row("", (client.title for client in did)), "|---" * (len(did) + 1) + "|")
    for scenario, meaning in SCENARIOS.items():
        yield _row(meaning, ("yes" if scenario in done else "" for done in did.values()))


def _row(first: str, cells: Iterator[str]) -> str:
    return "| " + " | ".join([first, *cells]) + " |"
