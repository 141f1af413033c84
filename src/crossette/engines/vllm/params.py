"""A request in vLLM's terms. Each field of a request is mapped here, or refused by its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from crossette.engines.vllm.grammar import to_lark_text
from crossette.errors import Unsupported
from crossette.types import GenerationRequest

MIN_TEMPERATURE = 0.01
"""vLLM silently replaces lower temperatures, except 0, by this one."""

Values = dict[str, Any]  # Any: values of JSON


def sampling_params(
    request: GenerationRequest, index: int, *, seed: int, max_tokens: int, eos_id: int | None
) -> Values:
    """vLLM's `sampling_params` of choice `index`. `seed` is that of choice 0.

    `eos_id` is the end token of vLLM's grammars. Raises Unsupported for a value that vLLM does not have.
    """
    if request.hidden_state:
        raise Unsupported(
            "vLLM, which runs this model, returns no hidden states with tokens, so it computes no embeddings here. Use "
            "an embedding model.",
            param="model",
        )
    if request.adapter is not None:
        raise Unsupported(
            "vLLM, which runs this model, is given no adapters by this server. Name the base model.", param="model"
        )
    if request.images:
        raise Unsupported(
            "vLLM, which runs this model, is sent tokens only, so images are not supported here. Send text.",
            param="images",
        )
    values: Values = {"n": 1, "detokenize": False, "ignore_eos": True, "skip_special_tokens": False}
    for name, convert in SAMPLING.items():
        values |= convert(getattr(request.sampling, name))
    ends = frozenset() if request.sampling.ignore_eos else request.end_token_ids
    if request.constraint is not None and eos_id is not None:
        ends |= {eos_id}  # all that vLLM allows after the end of a grammar
    values["stop_token_ids"] = sorted(ends)
    values["seed"] = (seed + index) % 2**63
    values["max_tokens"] = max(max_tokens, 1)
    values["min_tokens"] = min(request.sampling.min_tokens, values["max_tokens"])
    if values["min_tokens"] and request.constraint is not None:
        raise Unsupported(
            "vLLM, which runs this model, does not support min_tokens with a response format or tools. Leave it out.",
            param="min_tokens",
        )
    if request.logprobs is not None:
        values["logprobs"] = request.logprobs
    if scores_prompt(request, index):
        values["prompt_logprobs"] = request.logprobs or 0
    if request.constraint is not None:
        values["structured_outputs"] = {"grammar": to_lark_text(request.constraint)}
    return values


def body(request: GenerationRequest, index: int, params: Values) -> Values:
    """The body of the HTTP request for choice `index`."""
    values: Values = {
        "token_ids": list(request.prompt),
        "sampling_params": params,
        "stream": not scores_prompt(request, index),
    }
    if values["stream"]:
        values["stream_options"] = {"include_usage": True}
    if request.tenant or request.isolation_key:
        salt = json.dumps([request.tenant, request.isolation_key])
        values["cache_salt"] = sha256(salt.encode()).hexdigest()
    return values


def scores_prompt(request: GenerationRequest, index: int) -> bool:
    """Whether this choice brings the prompt's logprobs. vLLM returns them in answers that are not streamed."""
    return request.prompt_logprobs and index == 0


def _same(name: str) -> Callable[[Any], Values]:
    return lambda value: {name: value}


def _only(name: str, neutral: object, instead: str) -> Callable[[Any], Values]:
    """Refuse all values but the neutral one."""

    def convert(value: Any) -> Values:
        if value == neutral:
            return {}
        raise Unsupported(f"vLLM, which runs this model, does not support {name}. {instead}", param=name)

    return convert


def _temperature(value: float) -> Values:
    if 0 < value < MIN_TEMPERATURE:
        raise Unsupported(
            f"vLLM, which runs this model, does not support a temperature of {value:g}. Send 0, or at least"
            f" {MIN_TEMPERATURE}.",
            param="temperature",
        )
    return {"temperature": value}


def _top_p(value: float) -> Values:
    return {"top_p": value} if value else {"top_p": 1.0, "top_k": 1}  # 0 is outside vLLM's range


def _repetition_penalty(value: float) -> Values:
    if not value:
        raise Unsupported(
            "vLLM, which runs this model, does not support a repetition_penalty of 0. Send a larger one.",
            param="repetition_penalty",
        )
    return {"repetition_penalty": value}


def _logit_bias(value: tuple[tuple[int, float], ...]) -> Values:
    return {"logit_bias": {str(token): bias for token, bias in value}} if value else {}


def _elsewhere(value: object) -> Values:
    return {}


SAMPLING: Mapping[str, Callable[[Any], Values]] = {
    "top_k": _same("top_k"),
    "top_p": _top_p,  # after top_k, which it may replace
    "temperature": _temperature,
    "min_p": _same("min_p"),
    "typical_p": _only("typical_p", 1, "Use top_p or min_p."),
    "mirostat_target": _only("mirostat_target", None, "Use temperature."),
    "mirostat_lr": _elsewhere,  # has no effect without mirostat_target
    "repetition_penalty": _repetition_penalty,
    "frequency_penalty": _same("frequency_penalty"),
    "presence_penalty": _same("presence_penalty"),
    "logit_bias": _logit_bias,
    "max_tokens": _elsewhere,  # this and the rest depend on the request, see `sampling_params`
    "min_tokens": _elsewhere,
    "seed": _elsewhere,
    "ignore_eos": _elsewhere,
}
"""What each field of `SamplingParams` becomes."""
