"""What both completion endpoints take, declared once."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import ClassVar, Literal

import msgspec

from crossette.api.dialect import Dialect
from crossette.api.schema import fields
from crossette.api.schema.logprobs import LogprobsAsked
from crossette.api.schema.response_format import ResponseFormat, SchemaSent, StructuredOutputs
from crossette.api.schema.table import Refused, Table, check_limits, refuse_unbuilt
from crossette.engine import ModelInfo
from crossette.errors import ContextLengthExceeded, InvalidRequest
from crossette.generation.choice import Stops
from crossette.numerals import parse_count
from crossette.types import SamplingParams

TIERS = {"auto": 0, "default": 0, "flex": -1, "priority": 1}
"""service_tier as an engine's priority."""


class StreamOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.STREAM_OPTIONS

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    # refused
    include_obfuscation: Refused = None
    buffer_tokens: Refused = None
    buffer_ms: Refused = None
    buffer_mode: Refused = None


class PredictionPart(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.PREDICTION_PART

    type: Literal["text"]
    text: str


class Prediction(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.PREDICTION

    type: Literal["content"]
    content: str | list[PredictionPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class GenerationFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields of a request that both endpoints share."""

    table: ClassVar[Table]
    """Of all fields of the endpoint."""

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
    raw_output: bool | None = None
    return_token_ids: bool | None = None
    perf_metrics_in_response: bool | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    prompt_cache_isolation_key: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    priority: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    response_format: ResponseFormat | None = None
    guided_json: SchemaSent | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    structured_outputs: StructuredOutputs | None = None
    # refused
    allowed_token_ids: Refused = None
    bad_words: Refused = None
    use_beam_search: Refused = None
    length_penalty: Refused = None
    rewrite_speculation: Refused = None
    skip_special_tokens: Refused = None
    spaces_between_special_tokens: Refused = None
    add_special_tokens: Refused = None
    detokenize: Refused = None
    top_sampling_logprobs: Refused = None
    top_sampling_format: Refused = None
    sampling_mask: Refused = None
    include_routing_matrix: Refused = None
    routing_matrix_format: Refused = None
    acceptance_probs_override: Refused = None
    forced_generation: Refused = None
    guided_decoding_backend: Refused = None
    prompt_cache_max_len: Refused = None
    prompt_cache_options: Refused = None
    prompt_cache_retention: Refused = None
    store: Refused = None
    moderation: Refused = None
    modalities: Refused = None
    audio: Refused = None
    verbosity: Refused = None
    web_search_options: Refused = None
    nvext: Refused = None

    @property
    def num_choices(self) -> int:
        return 1 if self.n is None else self.n

    def check(self, dialect: Dialect) -> None:
        """Refuse what is not built, what is beyond its limits, and what no field can say by itself."""
        refuse_unbuilt(self, self.table)
        check_limits(self, self.table, dialect)
        self._check_recorded()
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise two_names("max_tokens", "max_completion_tokens", of="limit")
        if self.priority is not None and self.service_tier is not None:
            raise two_names("priority", "service_tier", of="thing")
        if self.stream_options is not None:
            refuse_unbuilt(self.stream_options, fields.STREAM_OPTIONS, "stream_options.")
            if not self.stream:
                raise InvalidRequest("stream_options needs stream: true.", param="stream_options")

    def _check_recorded(self) -> None:
        """What goes into the log has bounds of its own."""
        for name in self.table.recorded:
            text = getattr(self, name)
            if isinstance(text, str) and len(text) > fields.MAX_RECORDED:
                raise InvalidRequest(f"{name} has up to {fields.MAX_RECORDED} characters, not {len(text)}.", param=name)
        for key, value in (self.metadata or {}).items():
            for what, text, most in (
                ("key", key, fields.MAX_METADATA_KEY),
                ("value", value, fields.MAX_METADATA_VALUE),
            ):
                if len(text) > most:
                    raise InvalidRequest(
                        f"A {what} of metadata has up to {most} characters, not {len(text)}: '{text[:20]}…'",
                        param="metadata",
                    )

    @property
    def logprobs_asked(self) -> LogprobsAsked | None:
        """The shape and number of logprobs: an integer asks for the legacy arrays, true for the list."""
        if self.logprobs is None or self.logprobs is False:
            if self.top_logprobs:
                raise InvalidRequest("top_logprobs needs logprobs: true.", param="top_logprobs")
            return None
        if self.logprobs is True:
            return LogprobsAsked("content", self.top_logprobs or 0)
        return LogprobsAsked("legacy", self.logprobs if self.top_logprobs is None else self.top_logprobs)

    @property
    def num_echoed(self) -> int:
        """How many of the prompt's last tokens the answer begins with."""
        return sys.maxsize if self.echo else self.echo_last or 0

    @property
    def num_generated(self) -> int:
        """How many choices are generated for a prompt: more than are answered where the best are wanted."""
        return self.num_choices

    def stops(self, dialect: Dialect) -> Stops:
        strings = [self.stop] if isinstance(self.stop, str) else self.stop or []
        include = dialect.include_stop if self.include_stop_str_in_output is None else self.include_stop_str_in_output
        return Stops(tuple(string for string in strings if string), include, frozenset(self.stop_token_ids or ()))

    def end_token_ids(self, info: ModelInfo) -> frozenset[int]:
        """The tokens that end an answer: the request's own, and the model's unless it ignores them."""
        for token in self.stop_token_ids or ():
            if not 0 <= token < info.vocab_size:
                raise InvalidRequest(
                    f"'stop_token_ids' has token id {token}, but the vocabulary ends at {info.vocab_size - 1}.",
                    param="stop_token_ids",
                )
        own = frozenset(self.stop_token_ids or ())
        return own if self.ignore_eos else own | info.end_token_ids

    @property
    def engine_priority(self) -> int:
        """The higher, the earlier: the other way round than on the wire."""
        return -self.priority if self.priority is not None else TIERS[self.service_tier or "default"]

    @property
    def tier_used(self) -> str | None:
        """What to answer to service_tier; None where it was not sent."""
        return "default" if self.service_tier == "auto" else self.service_tier

    def sampling(
        self, dialect: Dialect, *, prompt_tokens: int, window: int, default: int | None, defaults: Mapping[str, float]
    ) -> SamplingParams:
        """How to sample, for a prompt of so many tokens. `default` is max_tokens where none is given (None: the room).

        Raises ContextLengthExceeded if the prompt does not fit, or if prompt and output do not and the dialect or
        the request wants that refused.
        """
        given = {name: value for name in fields.SAMPLING if (value := getattr(self, name)) is not None}
        if self.stop_token_ids:  # an engine that ignores end tokens would ignore these: it is not given the model's
            given["ignore_eos"] = False
        max_tokens = self._fitting_max_tokens(dialect, prompt_tokens, window, default)
        return SamplingParams(max_tokens, **({**defaults, **given}), logit_bias=self._logit_bias())

    def _logit_bias(self) -> tuple[tuple[int, float], ...]:
        return tuple((_token_id(text), bias) for text, bias in (self.logit_bias or {}).items())

    def drafts(self) -> str | list[int]:
        """Text, or tokens, that the output probably repeats; "" for none."""
        if self.prediction is not None and self.speculation is not None:
            raise two_names("prediction", "speculation", of="thing")
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


def _token_id(text: str) -> int:
    try:
        return parse_count(text)
    except ValueError:
        raise InvalidRequest(
            f'logit_bias maps token ids to numbers, like {{"1234": -100}}, and {text[:20]!r} is no token id.',
            param="logit_bias",
        ) from None


def two_names(first: str, second: str, *, of: str) -> InvalidRequest:
    return InvalidRequest(f"{first} and {second} are two names of one {of}: send one of them.", param=second)
