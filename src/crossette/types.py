"""What is said across the waist of the house: requests, tokens, reasons, counts. No behaviour beyond validity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from crossette.errors import InvalidRequest


class FinishReason(StrEnum):
    """Why a choice ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen and when to stop for length; valid once made.

    Raises InvalidRequest, with the field as `param`, for a value outside its range.
    `seed=None` lets the engine draw one.
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    """Keep the tokens whose surprise is nearest the expected one, up to this mass; 1 keeps all."""
    mirostat_target: float | None = None
    """The surprise, in bits, that mirostat steers to; it then takes the place of the four filters."""
    mirostat_lr: float = 0.1
    repetition_penalty: float = 1.0
    """Divides positive logits, and multiplies negative ones, of tokens in the prompt or the output."""
    frequency_penalty: float = 0.0
    """Taken from a token's logit for each time it stands in the output."""
    presence_penalty: float = 0.0
    """Taken once from the logit of a token that stands in the output."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token id, what is added to its logit)."""
    min_tokens: int = 0
    """No end token is drawn before so many tokens."""
    seed: int | None = None
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        for name, limits in RANGES.items():
            value = getattr(self, name)
            if value is not None:
                within(name, value, limits)
        for _, bias in self.logit_bias:
            within("logit_bias", bias, BIAS_RANGE)


Range = tuple[float, float]
"""The least and the most that a value may be."""

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
"""Of the numbers in `SamplingParams`."""

BIAS_RANGE: Range = (-100, 100)


def within(name: str, value: float, limits: Range, *, param: str | None = None) -> None:
    """Raise InvalidRequest, with `param` or else `name` as the field at fault, for a value outside its limits."""
    low, high = limits
    if low <= value <= high:  # false for NaN too
        return
    bounds = f"at least {low}" if high == math.inf else f"between {low} and {high}"
    raise InvalidRequest(f"{name} must be {bounds}: {value}", param=param or name)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A grammar that the output must match, as data: `kind` names the language of `source`.

    A JSON schema is given as `text/schema/rebuild.py` writes it: no compiler enforces any schema as it stands.
    """

    kind: Literal["json_schema", "regex", "lark", "gbnf"]
    source: str
    preamble: str = ""
    """What may stand before it, as a Lark expression: a block of reasoning."""
    param: str | None = None
    """The field of the request that it comes from, for errors."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What an engine is asked. An engine refuses by name, with Unsupported, what it does not do."""

    id: str
    prompt: tuple[int, ...]
    sampling: SamplingParams
    n: int = 1
    end_token_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    """How many alternatives to report beside each token's logprob; None for no logprobs at all."""
    prompt_logprobs: bool = False
    constraint: Constraint | None = None
    prediction: tuple[int, ...] = ()
    """Tokens that the output probably repeats: drafts to verify, never a change to the text."""
    tenant: str = ""
    """Key id or "": who shares fairness, and with `isolation_key` the cache namespace."""
    isolation_key: str = ""
    priority: int = 0
    """The higher, the earlier."""


@dataclass(frozen=True, slots=True)
class Logprob:
    """One position: the chosen token and its likeliest alternatives, best first."""

    token_id: int
    logprob: float
    sampling_logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenOutput:
    """What one step gave one choice of a request."""

    index: int
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    """Given once per request, with the first token: how much of the prompt did not have to be computed."""
    accepted_tokens: int = 0
    """Tokens among these that were guessed before they were drawn."""
    rejected_tokens: int = 0
    """Guesses that were wrong."""
    logprobs: tuple[Logprob, ...] | None = None
    prompt_logprobs: tuple[Logprob, ...] | None = None
    """Given once, with the first token, when the request asked for them: from the prompt's second token on."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer; `completion_tokens` includes reasoning and end tokens."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a converted graph is from the file that it was made of, as it was measured at conversion."""

    kl: float
    """Divergence on a short text, in nats a token."""
    largest: float
    """Largest difference of a logprob on that text."""
    weights: float
    """Largest distance of a sampled row of weights from the file's, as a part of its length."""

    @property
    def is_rounding(self) -> bool:
        """Whether scales of 16 bits explain it: the weights are those of the file."""
        return self.weights <= 0.002


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the files of a model say about it: read once, when it enters the store."""

    architecture: str
    quantization: str
    context_length: int
    end_token_ids: frozenset[int]
    """The end tokens that the files declare."""
    add_bos: bool
    """Whether every prompt begins with the beginning-of-text token."""
    chat_template: str | None
    special_tokens: Mapping[int, str]
    """The spelling of each control token."""
    converter: str | None = None
    """What wrote the graph, with its version; None where the source already held one."""
    difference: Difference | None = None
    """Between the graph and the file that it was converted from; None where nothing was converted."""


@dataclass(frozen=True, slots=True)
class WindowLimit:
    """Up to how many tokens a model is right as it is served, and why not beyond: the end of a sentence."""

    tokens: int
    reason: str
    unless_sliding: bool = False
    """Whether it does not hold for a graph whose attention has sliding windows."""
