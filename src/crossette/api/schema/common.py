"""What both completion endpoints take and give, declared once."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import UNSET, UnsetType

from crossette.api.dialect import Dialect
from crossette.api.schema import fields
from crossette.api.schema.logprobs import LogprobsAsked
from crossette.errors import ContextLengthExceeded, InvalidRequest
from crossette.generation import Stops
from crossette.types import SamplingParams, Usage

MAX_STOPS = 4
MAX_CHOICES = 128
MAX_LEGACY_LOGPROBS = 5

if TYPE_CHECKING:
    Unbuilt = msgspec.Struct
else:
    Unbuilt = fields.taking(fields.BOTH)


class StreamOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None
    continuous_usage_stats: bool | None = None


class PredictionPart(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class Prediction(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["content"]
    content: str | list[PredictionPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


_PLAIN = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "mirostat_target",
    "mirostat_lr",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "min_tokens",
    "ignore_eos",
    "seed",
)
"""Fields that mean the same here and in `SamplingParams`, under the same name."""


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
    typical_p: float | None = None
    mirostat_target: float | None = None
    mirostat_lr: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    min_tokens: int | None = None
    prediction: str | Prediction | None = None
    speculation: str | list[int] | None = None
    logprobs: bool | int | None = None
    top_logprobs: int | None = None
    echo: bool | None = None
    echo_last: int | None = None
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

    def logprobs_asked(self, dialect: Dialect) -> LogprobsAsked | None:
        """The shape and number of logprobs: an integer asks for the legacy arrays, true for the list."""
        if self.top_logprobs is not None:
            _within("top_logprobs", self.top_logprobs, dialect.max_top_logprobs)
        if self.logprobs is None or self.logprobs is False:
            if self.top_logprobs:
                raise InvalidRequest("top_logprobs needs logprobs: true.", param="top_logprobs")
            return None
        if self.logprobs is True:
            return LogprobsAsked("content", self.top_logprobs or 0)
        _within("logprobs", self.logprobs, MAX_LEGACY_LOGPROBS)
        return LogprobsAsked("legacy", self.logprobs if self.top_logprobs is None else self.top_logprobs)

    @property
    def num_echoed(self) -> int:
        """How many of the prompt's last tokens the answer begins with."""
        if self.echo_last is not None and self.echo_last < 0:
            raise InvalidRequest(f"echo_last must be at least 0: {self.echo_last}", param="echo_last")
        return sys.maxsize if self.echo else self.echo_last or 0

    @property
    def num_generated(self) -> int:
        """How many choices are generated for a prompt: more than are answered where the best are wanted."""
        return self.num_choices

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
        given = {name: value for name in _PLAIN if (value := getattr(self, name)) is not None}
        max_tokens = self._fitting_max_tokens(dialect, prompt_tokens, window, default)
        return SamplingParams(max_tokens, **({**defaults, **given}), logit_bias=self._logit_bias())

    def _logit_bias(self) -> tuple[tuple[int, float], ...]:
        try:
            return tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items())
        except ValueError:
            raise InvalidRequest(
                'logit_bias maps token ids to numbers, like {"1234": -100}.', param="logit_bias"
            ) from None

    def drafts(self) -> str | list[int]:
        """Text, or tokens, that the output probably repeats; "" for none."""
        if self.prediction is not None and self.speculation is not None:
            raise InvalidRequest(
                "prediction and speculation are two names of one thing: send one of them.", param="speculation"
            )
        if isinstance(self.prediction, Prediction):
            return self.prediction.text
        return self.prediction or self.speculation or ""

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
        least = 0 if self.num_echoed else 1  # an echo alone has a use: its logprobs
        if asked < least:
            name = "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"
            raise InvalidRequest(f"{name} must be at least {least}: {asked}", param=name)
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


def _within(name: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise InvalidRequest(f"{name} must be between 0 and {most}: {value}", param=name)


class PromptTokensDetails(msgspec.Struct):
    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct):
    reasoning_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


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
            usage.reasoning_tokens, usage.accepted_prediction_tokens, usage.rejected_prediction_tokens
        ),
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
