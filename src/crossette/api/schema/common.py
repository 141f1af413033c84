"""What both completion endpoints take and give, declared once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import UNSET, UnsetType

from crossette.api.dialect import Dialect
from crossette.api.schema import fields
from crossette.errors import ContextLengthExceeded, InvalidRequest
from crossette.generation import Stops
from crossette.types import SamplingParams, Usage

MAX_STOPS = 4
MAX_CHOICES = 128

if TYPE_CHECKING:
    Unbuilt = msgspec.Struct
else:
    Unbuilt = fields.taking(fields.BOTH)


class StreamOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None
    continuous_usage_stats: bool | None = None


class GenerationFields(Unbuilt, kw_only=True, forbid_unknown_fields=True):
    """The fields of a request that both endpoints share."""

    model: str
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    context_length_exceeded_behavior: Literal["truncate", "error"] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    prompt_cache_isolation_key: str | None = None
    prompt_cache_key: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def num_choices(self) -> int:
        return 1 if self.n is None else self.n

    def check(self, table: Mapping[str, fields.Neutral]) -> None:
        """Refuse what is not built, and what no field can say by itself."""
        fields.refuse_unbuilt(self, fields.BOTH)
        fields.refuse_unbuilt(self, table)
        if not 1 <= self.num_choices <= MAX_CHOICES:
            raise InvalidRequest(f"n must be between 1 and {MAX_CHOICES}: {self.n}", param="n")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise InvalidRequest(
                "max_tokens and max_completion_tokens are two names of one limit: send one of them.",
                param="max_completion_tokens",
            )
        if isinstance(self.stop, list) and len(self.stop) > MAX_STOPS:
            raise InvalidRequest(f"stop takes up to {MAX_STOPS} strings, not {len(self.stop)}.", param="stop")
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options needs stream: true.", param="stream_options")

    def stops(self, dialect: Dialect) -> Stops:
        strings = [self.stop] if isinstance(self.stop, str) else self.stop or []
        include = dialect.include_stop if self.include_stop_str_in_output is None else self.include_stop_str_in_output
        return Stops(tuple(string for string in strings if string), include)

    def sampling(
        self, dialect: Dialect, *, prompt_tokens: int, window: int, default: int | None, defaults: Mapping[str, float]
    ) -> SamplingParams:
        """How to sample, for a prompt of so many tokens. `default` is max_tokens where none is given (None: the room).

        Raises ContextLengthExceeded if the prompt does not fit, or if prompt and output do not and the dialect or
        the request wants that refused.
        """
        return SamplingParams(
            max_tokens=self._fitting_max_tokens(dialect, prompt_tokens, window, default),
            temperature=_given(self.temperature, defaults.get("temperature", 1.0)),
            top_k=int(_given(self.top_k, defaults.get("top_k", 0))),
            top_p=_given(self.top_p, defaults.get("top_p", 1.0)),
            min_p=_given(self.min_p, defaults.get("min_p", 0.0)),
            seed=self.seed,
            ignore_eos=bool(self.ignore_eos),
        )

    def _fitting_max_tokens(self, dialect: Dialect, prompt_tokens: int, window: int, default: int | None) -> int:
        room = window - prompt_tokens
        if room <= 0:
            raise ContextLengthExceeded(
                f"The prompt is too long: {prompt_tokens}, model maximum context length: {window - 1}",
                param=self.prompt_field,
            )
        asked = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        if asked is None:
            return room if default is None else min(default, room)
        if asked < 1:
            name = "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"
            raise InvalidRequest(f"{name} must be at least 1: {asked}", param=name)
        if asked > room and (self.context_length_exceeded_behavior or dialect.overflow) == "error":
            raise ContextLengthExceeded(
                f"This model's maximum context length is {window} tokens, and {prompt_tokens + asked} were asked for: "
                f"{prompt_tokens} in the prompt and {asked} for the output. Ask for {room} or fewer, or send "
                'context_length_exceeded_behavior: "truncate".',
                param=self.prompt_field,
            )
        return min(asked, room)

    @property
    def prompt_field(self) -> str:
        """The name of the field that holds the prompt."""
        raise NotImplementedError


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


class PromptTokensDetails(msgspec.Struct):
    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct):
    reasoning_tokens: int


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
        CompletionTokensDetails(usage.reasoning_tokens),
    )


class StreamUsage:
    """Where usage stands in a stream: on which chunk, and as null, or not at all, on the others."""

    def __init__(self, dialect: Dialect, options: StreamOptions | None) -> None:
        asked = options.include_usage if options is not None else None
        self.continuous = bool(options and options.continuous_usage_stats)
        self.at_end = bool(asked)
        self._on_finish = asked is None and dialect.usage_in_stream == "on_finish"
        self._none: UnsetType | None = None if asked or dialect.null_usage else UNSET

    def on_chunk(self, usage: Usage, *, is_last_finish: bool) -> UsageBody | UnsetType | None:
        """What a chunk's `usage` holds. `is_last_finish`: it ends the choice that ends last."""
        if self.continuous or (self._on_finish and is_last_finish):
            return usage_body(usage)
        return self._none


class Head(msgspec.Struct, frozen=True):
    """What every chunk of an answer repeats."""

    id: str
    model: str
    """As the request spelled it."""
    created: int = msgspec.field(default_factory=lambda: int(time.time()))
