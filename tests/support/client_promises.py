"""The expected results of each client, for every base URL. They are written out, not derived from the code."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from support.client_tools import PLACE
from support.client_tools import promises as promises_of_tools

STARCODER = "accounts/fireworks/models/starcoder-16b-w8a16"

Promises = dict[str, Any]


class Matching:
    """Equal to every text that contains a pattern, as the output of a real model is not fixed."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.search(self.pattern, other) is not None

    def __repr__(self) -> str:
        return f"Matching({self.pattern!r})"


class Wire(NamedTuple):
    """The differences between the dialects."""

    stopped: str
    counts_streams: bool
    usage_before_and_last: list[Any]
    no_model: str
    bad_value: str | None
    too_long: str
    broken: str
    beyond_openai: list[str]
    """Keys of logprobs that OpenAI's types do not have."""
    model_details: list[str]
    """Keys of models that OpenAI's types do not have."""
    beyond_fireworks: dict[str, list[str]]
    """Keys that Fireworks' types do not have, if logprobs are requested."""


_OPENAI_LOGPROBS = ["choices.logprobs.content", "choices.logprobs.refusal"]
_DETAILS = "usage.completion_tokens_details"
_CALL_INDEX = "choices.delta.tool_calls.index"

OPENAI = Wire(
    stopped="one, ",
    counts_streams=False,
    usage_before_and_last=["no such key", "no such key"],
    no_model="model_not_found",
    bad_value="decimal_above_max_value",
    too_long="context_length_exceeded",
    broken="internal_error",
    beyond_openai=[],
    model_details=["context_length", "root", "state"],
    beyond_fireworks={
        "chat": [
            *_OPENAI_LOGPROBS,
            "choices.message.annotations",
            "choices.message.refusal",
            "system_fingerprint",
            _DETAILS,
        ],
        "chat chunks": ["choices.delta.refusal", *_OPENAI_LOGPROBS, "system_fingerprint"],
        "calls": ["choices.message.annotations", "choices.message.refusal", "system_fingerprint", _DETAILS],
        "call chunks": ["choices.delta.refusal", _CALL_INDEX, "system_fingerprint"],
        "completion": [*_OPENAI_LOGPROBS, "system_fingerprint", _DETAILS],
        "completion chunks": [*_OPENAI_LOGPROBS, "system_fingerprint"],
    },
)
FIREWORKS = Wire(
    stopped="one, two",
    counts_streams=True,
    usage_before_and_last=[None, 39 + 8],
    no_model="NOT_FOUND",
    bad_value="INVALID_ARGUMENT",
    too_long="INVALID_ARGUMENT",
    broken="INTERNAL",
    beyond_openai=[
        f"choices.logprobs.content.{key}"
        for key in ("sampling_logprob", "text_offset", "token_id", "top_logprobs.token_id")
    ],
    model_details=[
        *("context_length", "kind", "root", "state", "supports_chat", "supports_image_input", "supports_tools")
    ],
    beyond_fireworks={
        **{key: [_DETAILS] for key in ("chat", "chat chunks", "calls", "completion", "completion chunks")},
        "call chunks": [_CALL_INDEX, _DETAILS],
    },
)


def promises(client: str, base: str) -> Promises:
    """The expected result of a client in every scenario, by the path of its base URL."""
    wire = FIREWORKS if base.startswith("/inference") else OPENAI
    return _common(wire) | (_OWN[client](wire) if client in _OWN else {})


def _answer(text: str, prompt_tokens: int, completion_tokens: int = 8, *, counted: bool = True) -> Promises:
    return {"text": text, "finish_reason": "stop", "usage": [prompt_tokens, completion_tokens] if counted else None}


def _common(wire: Wire) -> Promises:
    completion, chat = _answer(wire.stopped, 20), _answer(wire.stopped, 39)
    completion_stream = _answer(wire.stopped, 20, counted=wire.counts_streams)
    chat_stream = _answer(wire.stopped, 39, counted=wire.counts_streams)
    return {
        "completion": completion,
        "completion stream": completion_stream,
        "chat": chat,
        "chat stream": chat_stream,
        "async": [chat, chat_stream],
        "batch": ["one", "two"],
        "token ids": ["one", "two"],
        "usage in every chunk": wire.usage_before_and_last,
        "usage on request": [completion, chat],
        "settings of one request": [completion, chat_stream],
        "environment variables": "hi",
        "models": {"listed": ["fake", "gpt-3.5-turbo", STARCODER], "retrieved": STARCODER},
        "replayed message": "second",
        "nulls": ["one,", "one,"],
        "fields beyond the SDK": "one, two",
        "unknown model": [404, wire.no_model, "model"],
        "bad value": [400, wire.bad_value, "temperature"],
        "prompt too long": [400, wire.too_long, "prompt"],
        "retries": {"429": "fine", "503": "fine"},
        "broken stream": {"text": "Half", "code": wire.broken},
        "real model": [Matching("Paris"), Matching("Paris")],
        **promises_of_tools(),
    }


def _openai_0(wire: Wire) -> Promises:
    """This client uses `function_call`, which can only be required by name."""
    return promises_of_tools("function_call") | {
        "told to retry": {"429": ["RateLimitError", "fine"], "503": ["ServiceUnavailableError", "fine"]},
        "tool choice": {"auto": [], "none": [], "named": ["weather"]},
    }


def _openai_typed(wire: Wire) -> Promises:
    """The keys that OpenAI's types do not have."""
    return {
        "strict types": {
            "chat": wire.beyond_openai,
            "chat chunks": wire.beyond_openai,
            "calls": [],
            "call chunks": [],
            "completion": ["choices.logprobs.token_ids"],
            "completion chunks": ["choices.logprobs.token_ids"],
            "model": wire.model_details,
            "error": [],
        }
    }


def _fireworks(wire: Wire) -> Promises:
    """The keys that Fireworks' types do not have."""
    return {"strict types": wire.beyond_fireworks}


def _langchain_openai(wire: Wire) -> Promises:
    return {
        "completion": wire.stopped,
        "completion stream": wire.stopped,
        "typed answer, real model": {"json_schema": 2, "function_calling": 2},
        "usage on request": _answer(wire.stopped, 39),
        "prompt too long": "OpenAIContextOverflowError",
    }


def _langchain_fireworks(wire: Wire) -> Promises:
    """This client always requests usage in streams, and does not raise if a stream ends early."""
    chat = _answer(wire.stopped, 39)
    return {
        "completion": wire.stopped,
        "completion stream": wire.stopped,
        "chat stream": chat,
        "typed answer, real model": {"json_schema": 2, "function_calling": 2},
        "async": [chat, chat],
        "prompt too long": "FireworksContextOverflowError",
        "broken stream": {"text": "Half", "code": "not raised"},
    }


def _ai_sdk(wire: Wire) -> Promises:
    """This client always requests usage in streams. Its completion models send a transcript, which is echoed."""
    transcript, chat = _answer("one, two, three\n\nassistant:\n", 39, 28), _answer(wire.stopped, 39)
    return promises_of_tools("tool-calls") | {
        "completion": transcript,
        "completion stream": transcript,
        "chat stream": chat,
        "prompt too long": [400, wire.too_long, "messages"],
        "broken stream": {"text": "Half", "error": Matching("The engine failed in this request's step")},
    }


def _instructor(wire: Wire) -> Promises:
    return {"async": [PLACE, PLACE], "typed answer, real model": {"json_schema_mode": 2, "tool_call": 2}}


def _curl(wire: Wire) -> Promises:
    expected = {
        "usage before the last chunk": ["None"],
        "reason before the last chunk": ["None"],
        "counts": ["completion_tokens", "prompt_tokens", "total_tokens"],
        "end": "data: [DONE]",
    }
    return {
        "example of the page": expected | {"reason": "stop"},
        "example of the page, real model": expected | {"reason": Matching("^(stop|length)$")},
    }


_OWN: dict[str, Callable[[Wire], Promises]] = {
    "openai 0.28": _openai_0,
    "openai 1": _openai_typed,
    "openai 3": _openai_typed,
    "fireworks": _fireworks,
    "langchain-openai": _langchain_openai,
    "langchain-fireworks": _langchain_fireworks,
    "ai-sdk fireworks": _ai_sdk,
    "ai-sdk compatible": _ai_sdk,
    "instructor": _instructor,
    "curl": _curl,
}
