"""Logprobs on the wire: OpenAI's legacy arrays, and its list of content. The type of the request's value picks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from crossette.text.token_offsets import TokenText

Spelling = Callable[[int], bytes]

_UNCONDITIONED = 0.0
"""What the list says of the first token of all, which nothing comes before: the field is required there."""


@dataclass(frozen=True, slots=True)
class LogprobsAsked:
    """In which shape, and with how many alternatives at each place."""

    shape: Literal["legacy", "content"]
    num_top: int


class Logprobs(msgspec.Struct):
    """Either shape; the request's value picks."""


class LegacyLogprobs(Logprobs):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]
    token_ids: list[int]


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]
    token_id: int | UnsetType = UNSET


class TokenLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]
    sampling_logprob: float | UnsetType | None = UNSET
    token_id: int | UnsetType = UNSET
    text_offset: int | UnsetType = UNSET


class ContentLogprobs(Logprobs):
    content: list[TokenLogprob]
    refusal: UnsetType | None = UNSET
    """OpenAI's alone."""


def logprobs_body(
    asked: LogprobsAsked | None, tokens: Sequence[TokenText], spelling: Spelling, *, detailed: bool
) -> Logprobs | None:
    """The records of `tokens`, as they were asked for. `detailed`: with the keys that only Fireworks has."""
    if asked is None:
        return None
    if asked.shape == "legacy":
        return _legacy(tokens, spelling, asked.num_top)
    content = [_content(token, spelling, asked.num_top, detailed=detailed) for token in tokens]
    return ContentLogprobs(content, refusal=UNSET if detailed else None)


def _legacy(tokens: Sequence[TokenText], spelling: Spelling, num_top: int) -> LegacyLogprobs:
    return LegacyLogprobs(
        tokens=[spelled(token.data, "bytes:") for token in tokens],
        token_logprobs=[None if token.logprob is None else token.logprob.logprob for token in tokens],
        top_logprobs=[_alternatives(token, spelling, num_top) for token in tokens] if num_top else None,
        text_offset=[token.offset for token in tokens],
        token_ids=[token.id for token in tokens],
    )


def _alternatives(token: TokenText, spelling: Spelling, num_top: int) -> dict[str, float] | None:
    """The likeliest tokens of a place by text, and the one that stands there. Of equal texts, the likeliest."""
    if token.logprob is None:
        return None
    found: dict[str, float] = {}
    for token_id, logprob in token.logprob.top[:num_top]:
        found.setdefault(spelled(spelling(token_id), "bytes:"), logprob)
    found.setdefault(spelled(token.data, "bytes:"), token.logprob.logprob)
    return found


def _content(token: TokenText, spelling: Spelling, num_top: int, *, detailed: bool) -> TokenLogprob:
    record = token.logprob
    body = TokenLogprob(
        token=spelled(token.data),
        logprob=_UNCONDITIONED if record is None else record.logprob,
        bytes=list(token.data),
        top_logprobs=[
            TopLogprob(spelled(spelling(i)), logprob, list(spelling(i)), i if detailed else UNSET)
            for i, logprob in (record.top[:num_top] if record else ())
        ],
    )
    if detailed:
        body.sampling_logprob = None if record is None else record.sampling_logprob
        body.token_id, body.text_offset = token.id, token.offset
    return body


def spelled(data: bytes, prefix: str = "") -> str:
    r"""A token's text; one that is no whole characters as `\xe2\x82`, behind `prefix`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return prefix + "".join(f"\\x{byte:02x}" for byte in data)
