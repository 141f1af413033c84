"""Parts of an answer that both completion endpoints share: head, usage, counts and times."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import msgspec
from msgspec import UNSET, UnsetType

from crossette import __version__
from crossette.api.dialect import Dialect
from crossette.api.schema.common import GenerationFields, StreamOptions
from crossette.types import Usage

PerfMetrics = dict[str, int | float]
"""Counts, and times in seconds."""


class TokenDetail(msgspec.Struct):
    """What is known of a token of an answer beside its text."""

    id: int
    time: float | None
    """Seconds from the arrival of the request until the token came; null for a token that the request has."""
    accepted_draft: bool
    """Whether it is a draft token that the model confirmed."""


class PromptTokensDetails(msgspec.Struct):
    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct):
    reasoning_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int
    retried_tokens: int | UnsetType = UNSET
    """Tokens of attempts whose text failed a check, if there were any."""


class UsageBody(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


def usage_body(usage: Usage) -> UsageBody:
    return UsageBody(
        usage.prompt_tokens,
        usage.total_tokens,
        usage.completion_tokens,
        PromptTokensDetails(usage.cached_tokens),
        CompletionTokensDetails(
            usage.reasoning_tokens,
            usage.accepted_prediction_tokens,
            usage.rejected_prediction_tokens,
            usage.retried_tokens or UNSET,
        ),
    )


class StreamUsage:
    """The `usage` of a stream's chunks: which chunk has it, and whether it is null or absent on the others."""

    def __init__(self, dialect: Dialect, options: StreamOptions | None) -> None:
        requested = options.include_usage if options is not None else None
        self._is_continuous = requested is not False and bool(options and options.continuous_usage_stats)
        self.at_end = bool(requested)
        self._on_finish = requested is None and dialect.usage_in_stream == "on_finish"
        self._none: UnsetType | None = None if requested or dialect.null_usage else UNSET

    def on_chunk(self, usage: Callable[[], Usage], *, is_last_finish: bool) -> UsageBody | UnsetType | None:
        """The `usage` of a chunk. `usage` is called only if it is needed.

        `is_last_finish`: the chunk finishes the last open choice.
        """
        if self._is_continuous or (self._on_finish and is_last_finish):
            return usage_body(usage())
        return self._none


class Head(msgspec.Struct, frozen=True):
    """The fields that every chunk of an answer repeats."""

    id: str
    model: str
    """As in the request."""
    created: int = msgspec.field(default_factory=lambda: int(time.time()))
    system_fingerprint: str | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET


def head(answer_id: str, body: GenerationFields, identity: tuple[object, ...], dialect: Dialect) -> Head:
    """The head of an answer. Its fingerprint changes with the server and `identity`: outputs may then change too."""
    fingerprint: str | UnsetType = UNSET
    if dialect.fingerprints:
        fingerprint = "fp_" + hashlib.sha256(repr((__version__, *identity)).encode()).hexdigest()[:10]
    return Head(answer_id, body.model, system_fingerprint=fingerprint, service_tier=body.tier_used or UNSET)
