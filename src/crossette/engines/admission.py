"""Request validation that all engines share."""

from __future__ import annotations

from collections.abc import Sequence

from crossette.engine import ModelInfo
from crossette.errors import ContextLengthExceeded, EngineFailure, InvalidRequest, ShuttingDown, Unsupported
from crossette.types import GenerationRequest


def check(request: GenerationRequest, info: ModelInfo) -> None:
    """Raise InvalidRequest or ContextLengthExceeded for a request that the model cannot run."""
    if not request.prompt:
        raise InvalidRequest("The prompt has no tokens: there is nothing to continue.", param="prompt")
    if min(request.prompt) < 0 or max(request.prompt) >= info.vocab_size:
        index, token = next((i, t) for i, t in enumerate(request.prompt) if not 0 <= t < info.vocab_size)
        raise InvalidRequest(
            f"Token {index} of the prompt is {token}, but the vocabulary ends at {info.vocab_size - 1}.",
            param="prompt",
        )
    for token, _ in request.sampling.logit_bias:
        if not 0 <= token < info.vocab_size:
            raise InvalidRequest(
                f"'logit_bias' has token id {token}, but the vocabulary ends at {info.vocab_size - 1}.",
                param=f"logit_bias.{token}",
            )
    if request.adapter is not None and request.adapter not in info.adapters:
        raise Unsupported(f"The model '{info.name}' has no adapter '{request.adapter}'.", param="model")
    if request.images and not info.sees:
        raise sees_nothing()
    if len(request.prompt) >= info.context_length:
        raise ContextLengthExceeded(
            f"The prompt is too long: {len(request.prompt)}, model maximum context length: {info.context_length - 1}",
            param="prompt",
        )


def sees_nothing() -> Unsupported:
    return Unsupported("This model accepts text only, and the prompt has an image. Send text.", param="images")


def check_texts(texts: Sequence[Sequence[int]], info: ModelInfo) -> None:
    """Raise InvalidRequest or ContextLengthExceeded for texts of which an embedding model cannot make vectors."""
    for index, tokens in enumerate(texts):
        param = f"input[{index}]"
        if not tokens:
            raise InvalidRequest(f"{param} has no tokens, so it has no vector.", param=param)
        if len(tokens) > info.context_length:
            raise text_too_long(len(tokens), info, param)
        if min(tokens) < 0 or max(tokens) >= info.vocab_size:
            token = next(token for token in tokens if not 0 <= token < info.vocab_size)
            raise InvalidRequest(
                f"{param} has the token id {token}, but the vocabulary ends at {info.vocab_size - 1}.", param=param
            )


def text_too_long(num_tokens: int, info: ModelInfo, param: str) -> ContextLengthExceeded:
    return ContextLengthExceeded(
        f"The prompt is too long: {num_tokens}, model maximum context length: {info.context_length}, field: '{param}'."
        " Send shorter texts, or truncate_prompt_tokens to cut them.",
        param=param,
    )


def shutting_down() -> ShuttingDown:
    return ShuttingDown("The server is shutting down. Retry in a moment.")


def step_failed() -> EngineFailure:
    """The error for the client. The cause goes to the log only: it may contain paths."""
    return EngineFailure("The engine failed in this request's step. Retry the request.")
