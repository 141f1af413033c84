"""The data types of the engine interface: requests, outputs, finish reasons, usage. No behaviour but validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Literal

import msgspec

from crossette.errors import Code, InvalidRequest


class FinishReason(StrEnum):
    """The finish reason of a choice, as the engine reports it."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    """The filter of an upstream cut the text; no engine of this server has one."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Sampling parameters of a request, validated on construction.

    Raises InvalidRequest, with the field as `param`, for a value outside its range.
    `seed=None` lets the engine choose a random seed.
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    """Locally typical sampling: keep tokens whose surprisal is nearest the entropy, up to this mass; 1 keeps all."""
    mirostat_target: float | None = None
    """Mirostat's target surprisal, in bits; replaces the four filters. None disables mirostat."""
    mirostat_lr: float = 0.1
    repetition_penalty: float = 1.0
    """Divides positive logits, and multiplies negative ones, of tokens in the prompt or the output."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit for each time it occurs in the output."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of a token that occurs in the output."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Pairs of token id and bias added to its logit."""
    min_tokens: int = 0
    """End tokens are not sampled before the output has this many tokens."""
    seed: int | None = None
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        for (name, limits), value in zip(RANGES.items(), _ranged(self), strict=True):
            if value is not None and not limits[0] <= value <= limits[1]:
                within(name, value, limits)  # raises
        for token, bias in self.logit_bias:
            within("logit_bias", bias, BIAS_RANGE, param=f"logit_bias.{token}")


Range = tuple[float, float]
"""Smallest and largest allowed value."""

RANGES: Mapping[str, Range] = {
    "max_tokens": (0, math.inf),
    "temperature": (0, 2),
    "top_k": (0, math.inf),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "mirostat_target": (0, 100),
    "mirostat_lr": (0, 1),
    "repetition_penalty": (0, 2),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "min_tokens": (0, math.inf),
    "seed": (-(2**63), 2**64 - 1),
}
"""The ranges of the numeric fields of `SamplingParams`."""
_ranged = attrgetter(*RANGES)

BIAS_RANGE: Range = (-100, 100)


def within(name: str, value: float, limits: Range, *, param: str | None = None, code: Code | None = None) -> None:
    """Raise InvalidRequest for a value outside its limits; the error's field is `param`, or else `name`.

    `code` is OpenAI's code, by default that of a number: `integer_below_min_value`.
    """
    low, high = limits
    if low <= value <= high:  # false for NaN too
        return
    bounds = f"at least {low}" if high == math.inf else f"between {low} and {high}"
    code = code or _CODES[isinstance(value, int), value < low]
    raise InvalidRequest(f"{name} must be {bounds}: {value}", param=param or name, code=code)


_CODES: Mapping[tuple[bool, bool], Code] = {
    (True, True): "integer_below_min_value",
    (True, False): "integer_above_max_value",
    (False, True): "decimal_below_min_value",
    (False, False): "decimal_above_max_value",
}
"""By whether a number is an integer, and whether it is below its minimum."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A grammar that the output must match: `kind` is the language of `source`.

    A JSON schema must be rewritten by `text/schema/rebuild.py` first: no compiler enforces every schema as sent.
    """

    kind: Literal["json_schema", "regex", "lark", "gbnf"]
    source: str
    preamble: str = ""
    """A Lark expression that may precede the grammar: a block of reasoning."""
    param: str | None = None
    """The request field that it comes from, for error messages."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PromptImage:
    """An image as the engine of its model made it; engines add the embeddings in a class of their own."""

    tokens: tuple[int, ...]
    """The tokens of the prompt that stand for it."""
    digest: bytes
    """A hash of the image: equal digests mean equal embeddings."""


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image in a prompt: its tokens are those from `start` on."""

    start: int
    image: PromptImage

    @property
    def end(self) -> int:
        return self.start + len(self.image.tokens)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request to an engine. An engine raises Unsupported, with the field's name, for what it does not implement."""

    id: str
    prompt: tuple[int, ...]
    sampling: SamplingParams
    n: int = 1
    end_token_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    """Number of top alternatives to return with each token's logprob; None for no logprobs."""
    prompt_logprobs: bool = False
    constraint: Constraint | None = None
    prediction: tuple[int, ...] = ()
    """Predicted output: a source of draft tokens, which never change the text."""
    tenant: str = ""
    """Key id or "": the unit of fair scheduling and, with `isolation_key`, the prefix cache namespace."""
    isolation_key: str = ""
    priority: int = 0
    """Higher priorities are scheduled first."""
    hidden_state: bool = False
    """Whether to return the last hidden state of the prompt's last token: an embedding of the prompt."""
    images: tuple[PlacedImage, ...] = ()
    """Images in the prompt, in order; only for a model that sees."""
    adapter: str | None = None
    """The adapter of the model that answers, one of `ModelInfo.adapters`; None for the model itself."""


@dataclass(frozen=True, slots=True)
class Logprob:
    """The logprob of one token and its most likely alternatives, most likely first."""

    token_id: int
    logprob: float
    sampling_logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class TokenOutput(msgspec.Struct, frozen=True):
    """The output of one step for one choice of a request. A struct: made for each token, seven times as fast."""

    index: int
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    """Prompt tokens from the prefix cache; set once per request, with the first token."""
    accepted_tokens: int = 0
    """Accepted draft tokens among `token_ids`."""
    rejected_tokens: int = 0
    """Rejected draft tokens."""
    logprobs: tuple[Logprob, ...] | None = None
    prompt_logprobs: tuple[Logprob, ...] | None = None
    """Set once, with the first token, if requested: from the prompt's second token on."""
    hidden_state: bytes | None = None
    """Set once, with the first output, if requested: 32-bit floats, little-endian."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer; `completion_tokens` includes reasoning and end tokens."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    retried_tokens: int = 0
    """Completion tokens of attempts that failed a check and were sampled again."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Difference:
    """The numerical difference between a converted graph and its source file, measured at conversion."""

    kl: float
    """Mean KL divergence on a short text, in nats per token."""
    largest: float
    """Largest logprob difference on that text."""
    weights: float
    """Largest relative distance of a sampled row of weights from the file's."""

    @property
    def is_rounding(self) -> bool:
        """Whether rounding scales to 16 bits explains the difference."""
        return self.weights <= 0.002


ModelKind = Literal["generation", "embedding"]
"""What a model computes: tokens that continue a prompt, or a vector for a text."""

Pooling = Literal["mean", "cls", "last"]
"""How the vectors of a text's tokens become one: their mean, that of the first token, or that of the last."""


@dataclass(frozen=True, slots=True)
class EmbeddingFacts:
    """What the files of an embedding model say of its vectors."""

    dimensions: int
    pooling: Pooling
    normalized: bool
    """Whether the model scales its vectors to length 1."""
    shorter: bool | tuple[int, ...] = False
    """Whether the first dimensions of a vector alone are useful (Matryoshka): in any number, or in one of these."""
    is_declared: bool = True
    """Whether its files state how it pools; if not, the mean is assumed."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Metadata of a model's files, read once, when the model enters the store."""

    architecture: str
    quantization: str
    context_length: int
    end_token_ids: frozenset[int]
    """The end tokens that the files declare."""
    add_bos: bool
    """Whether every prompt begins with the beginning-of-text token."""
    chat_template: str | None
    special_tokens: Mapping[int, str]
    """The text form of each control token, by id."""
    converter: str | None = None
    """The converter that wrote the graph, with its version; None if the source contained the graph."""
    difference: Difference | None = None
    """Between the graph and its source file; None if nothing was converted."""


@dataclass(frozen=True, slots=True)
class WindowLimit:
    """The longest context in which a model computes correctly, and the reason, as the end of a sentence."""

    tokens: int
    reason: str
    unless_sliding: bool = False
    """Whether the limit does not apply to a graph with sliding window attention."""
    unless_chosen: bool = False
    """Whether the limit does not apply to a graph that chooses values by the length of the text."""
