"""Logprobs on the wire: OpenAI's legacy arrays or its content list, selected by the type of `logprobs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from crossette.text.token_offsets import TokenText

BytesOfToken = Callable[[int], bytes]

_UNCONDITIONED = 0.0
"""The logprob of the first prompt token in the content list, where the field is required: it has no context."""


@dataclass(frozen=True, slots=True)
class LogprobsOptions:
    """The requested format, and the number of alternatives at each position."""

    shape: Literal["legacy", "content"]
    num_top: int


class Logprobs(msgspec.Struct):
    """Either format; the type of the request's `logprobs` selects it."""


class LegacyLogprobs(Logprobs):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
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
    """In the OpenAI dialect only."""


def logprobs_body(
    options: LogprobsOptions | None,
    tokens: Sequence[TokenText],
    bytes_of: BytesOfToken,
    *,
    detailed: bool,
    refusal: bool = False,
) -> Logprobs | None:
    """The logprobs of `tokens` in the requested format. `detailed`: with the keys of Fireworks, `refusal`: OpenAI's."""
    if options is None:
        return None
    if options.shape == "legacy":
        return _legacy(tokens, bytes_of, options.num_top)
    content = [_content(token, bytes_of, options.num_top, detailed=detailed) for token in tokens]
    return ContentLogprobs(content, refusal=None if refusal else UNSET)


def _legacy(tokens: Sequence[TokenText], bytes_of: BytesOfToken, num_top: int) -> LegacyLogprobs:
    return LegacyLogprobs(
        tokens=[token_string(token.data, "bytes:") for token in tokens],
        token_logprobs=[None if token.logprob is None else token.logprob.logprob for token in tokens],
        top_logprobs=[_alternatives(token, bytes_of, num_top) for token in tokens],
        text_offset=[token.offset for token in tokens],
        token_ids=[token.id for token in tokens],
    )


def _alternatives(token: TokenText, bytes_of: BytesOfToken, num_top: int) -> dict[str, float] | None:
    """The logprobs of the top tokens and the chosen token by text. Equal texts keep the most probable token."""
    if token.logprob is None:
        return None
    found: dict[str, float] = {}
    for token_id, logprob in token.logprob.top[:num_top]:
        found.setdefault(token_string(bytes_of(token_id), "bytes:"), logprob)
    found.setdefault(token_string(token.data, "bytes:"), token.logprob.logprob)
    return found


def _content(token: TokenText, bytes_of: BytesOfToken, num_top: int, *, detailed: bool) -> TokenLogprob:
    record = token.logprob
    body = TokenLogprob(
        token=token_string(token.data),
        logprob=_UNCONDITIONED if record is None else record.logprob,
        bytes=list(token.data),
        top_logprobs=[
            TopLogprob(token_string(bytes_of(i)), logprob, list(bytes_of(i)), i if detailed else UNSET)
            for i, logprob in (record.top[:num_top] if record else ())
        ],
    )
    if detailed:
        body.sampling_logprob = None if record is None else record.sampling_logprob
        body.token_id, body.text_offset = token.id, token.offset
    return body


def token_string(data: bytes, prefix: str = "") -> str:
    r"""A token's text; incomplete UTF-8 is escaped, as `\xe2\x82`, after `prefix`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return prefix + "".join(f"\\x{byte:02x}" for byte in data)
