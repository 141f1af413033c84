"""Request fields that both completion endpoints share."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from crossette.api.dialect import Dialect
from crossette.api.schema import fields, nested_fields
from crossette.api.schema.logprobs import LogprobsOptions
from crossette.api.schema.recorded import check_recorded
from crossette.api.schema.response_format import ResponseFormat, SchemaSent, StructuredOutputs
from crossette.api.schema.table import Refused, Table, check_limits, refuse_unsupported
from crossette.engine import ModelInfo
from crossette.errors import ContextLengthExceeded, InvalidRequest
from crossette.generation.choice import Stops
from crossette.numerals import parse_count
from crossette.types import SamplingParams, within

ISOLATION_HEADER = "x-prompt-cache-isolation-key"

TIERS = {"default": 0, "flex": -1, "priority": 1}
"""The service tiers, each with its priority for an engine."""
BATCH_PRIORITY = -(2**63)
"""The priority of a request of a batch for an engine: all live requests run before it."""
_SERVED_AS = {"auto": "default", "scale": "default", "fast": "priority"}
"""Other values of `service_tier`, and the tiers that serve them. OpenAI's answers name `fast` `priority`, too."""


class StreamOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.STREAM_OPTIONS

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    # refused
    include_obfuscation: Refused = None
    buffer_tokens: Refused = None
    buffer_ms: Refused = None
    buffer_mode: Refused = None


class PredictionPart(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.PREDICTION_PART

    type: Literal["text"]
    text: str


class Prediction(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.PREDICTION

    type: Literal["content"]
    content: str | list[PredictionPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class GenerationFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields of a request that both endpoints share."""

    table: ClassVar[Table]
    """All fields of the endpoint."""

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
    continue_token_ids: list[int] | None = None
    return_token_ids: bool | None = None
    return_token_details: bool | None = None
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
    cache_prompt: bool | None = None
    prompt_cache_options: dict[str, Any] | None = None  # Any: any JSON value
    prompt_cache_retention: str | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None  # Any: any JSON value
    cache_control: dict[str, Any] | None = None  # Any: any JSON value
    service_tier: Literal["auto", "default", "flex", "priority", "fast", "scale"] | None = None
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
    prompt_logprobs: Refused = None
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
        """Reject unsupported fields, values beyond their limits, and fields that exclude or require one another."""
        refuse_unsupported(self, self.table)
        check_limits(self, self.table, dialect)
        check_recorded(self, self.table)
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise alias_conflict("max_tokens", "max_completion_tokens", of="limit")
        if self.continue_token_ids and self.num_echoed:
            raise InvalidRequest(
                "continue_token_ids and echo both begin the answer: send one of them.", param="continue_token_ids"
            )
        if self.priority is not None and self.service_tier is not None:
            raise alias_conflict("priority", "service_tier", of="thing")
        if self.stream_options is not None:
            refuse_unsupported(self.stream_options, nested_fields.STREAM_OPTIONS, "stream_options.")
            if not self.stream:
                raise InvalidRequest("stream_options needs stream: true.", param="stream_options")

    @property
    def logprobs_options(self) -> LogprobsOptions | None:
        """The format and number of logprobs: an integer requests the legacy arrays, true the list."""
        if self.logprobs is None or self.logprobs is False:
            if self.top_logprobs:
                raise InvalidRequest("top_logprobs needs logprobs: true.", param="top_logprobs")
            return None
        if self.logprobs is True:
            return LogprobsOptions("content", self.top_logprobs or 0)
        return LogprobsOptions("legacy", self.logprobs if self.top_logprobs is None else self.top_logprobs)

    @property
    def num_echoed(self) -> int:
        """How many of the last prompt tokens the answer starts with."""
        return sys.maxsize if self.echo else self.echo_last or 0

    @property
    def num_generated(self) -> int:
        """Choices generated per prompt: more than are returned if `best_of` is set."""
        return self.num_choices

    def stops(self, dialect: Dialect) -> Stops:
        strings = [self.stop] if isinstance(self.stop, str) else self.stop or []
        include = dialect.include_stop if self.include_stop_str_in_output is None else self.include_stop_str_in_output
        return Stops(tuple(string for string in strings if string), include, frozenset(self.stop_token_ids or ()))

    def end_token_ids(self, info: ModelInfo) -> frozenset[int]:
        """The tokens that end an answer: those of the request, and the model's unless the request ignores them."""
        check_token_ids("stop_token_ids", self.stop_token_ids or (), info)
        own = frozenset(self.stop_token_ids or ())
        return own if self.ignore_eos else own | info.end_token_ids

    @property
    def engine_priority(self) -> int:
        """Higher is earlier, the inverse of `priority` on the wire."""
        return -self.priority if self.priority is not None else TIERS[self.tier_used or "default"]

    @property
    def tier_used(self) -> str | None:
        """The `service_tier` of the answer; None if it was not sent."""
        return None if self.service_tier is None else _SERVED_AS.get(self.service_tier, self.service_tier)

    def isolation_key(self, header: str, answer_id: str) -> str:
        """The part of the prefix cache that the prompts use: "" is shared by all without a key.

        `header` is the header's value, "" for none; `answer_id` is a key that no other request has.
        """
        field = self.prompt_cache_isolation_key or ""
        if field and header and field != header:
            raise InvalidRequest(
                "prompt_cache_isolation_key and the header x-prompt-cache-isolation-key differ: send one of them.",
                param="prompt_cache_isolation_key",
            )
        return answer_id if self.cache_prompt is False else field or header

    def sampling(
        self, dialect: Dialect, *, prompt_tokens: int, window: int, default: int | None, defaults: Mapping[str, float]
    ) -> SamplingParams:
        """The sampling parameters for a prompt of `prompt_tokens` tokens.

        `default` is max_tokens if the request has none; None is the rest of the context window. Raises
        ContextLengthExceeded if the prompt does not fit, or if prompt and output do not and the dialect or the request
        makes that an error.
        """
        given = {name: value for name in fields.SAMPLING if (value := getattr(self, name)) is not None}
        if self.top_k == -1:  # as in vLLM
            given["top_k"] = 0
        if (
            self.stop_token_ids
        ):  # an engine that ignores end tokens would ignore these too; the model's are left out instead
            given["ignore_eos"] = False
        max_tokens = self._fitting_max_tokens(dialect, prompt_tokens, window, default)
        return SamplingParams(max_tokens, **({**defaults, **given}), logit_bias=self._logit_bias())

    def _logit_bias(self) -> tuple[tuple[int, float], ...]:
        return tuple((_token_id(text), bias) for text, bias in (self.logit_bias or {}).items())

    def drafts(self) -> str | list[int]:
        """The predicted output, as text or tokens; "" for none."""
        if self.prediction is not None and self.speculation is not None:
            raise alias_conflict("prediction", "speculation", of="thing")
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
        requested = self.requested_max_tokens()
        if requested is None:
            return room if default is None else min(default, room)
        if requested > room and (self.context_length_exceeded_behavior or dialect.overflow) == "error":
            raise ContextLengthExceeded(
                f"This model's maximum context length is {window} tokens, and {prompt_tokens + requested} were "
                f"requested: {prompt_tokens} in the prompt and {requested} for the output. Request {room} or fewer, or "
                'send context_length_exceeded_behavior: "truncate".',
                param=self.prompt_field,
            )
        return min(requested, room)

    def requested_max_tokens(self) -> int | None:
        """The limit of an answer, under either name. Raises InvalidRequest if it is too small."""
        requested = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        if requested is not None:
            name = "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"
            minimum = 0 if self.num_echoed else 1  # an echo without output is useful for its logprobs
            within(name, requested, (minimum, math.inf))
        return requested

    def default_max_tokens(self, dialect: Dialect) -> int | None:
        """The limit of an answer if the request has none; None is the rest of the context window."""
        return None

    @property
    def prompt_field(self) -> str:
        """The name of the field that holds the prompt."""
        raise NotImplementedError


def check_token_ids(path: str, tokens: Sequence[int], info: ModelInfo) -> None:
    """Raise InvalidRequest for the first token id that is not in the vocabulary. `path` is the field of the list."""
    invalid = next((index for index, token in enumerate(tokens) if not 0 <= token < info.vocab_size), None)
    if invalid is not None:
        raise InvalidRequest(
            f"{path}[{invalid}] is {tokens[invalid]}, but the vocabulary ends at {info.vocab_size - 1}.",
            param=f"{path}[{invalid}]",
        )


def _token_id(text: str) -> int:
    try:
        return parse_count(text)
    except ValueError:
        raise InvalidRequest(
            f'logit_bias maps token ids to numbers, like {{"1234": -100}}, and {text[:20]!r} is not a token id.',
            param="logit_bias",
        ) from None


def alias_conflict(first: str, second: str, *, of: str) -> InvalidRequest:
    return InvalidRequest(
        f"{first} and {second} are two names of one {of}: send one of them.",
        param=second,
        code="invalid_parameter_combination",
    )
