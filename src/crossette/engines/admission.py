"""Request validation that all token-level engines share."""

from __future__ import annotations

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
    if request.images and not info.sees:
        raise sees_nothing()
    if len(request.prompt) >= info.context_length:
        raise ContextLengthExceeded(
            f"The prompt is too long: {len(request.prompt)}, model maximum context length: {info.context_length - 1}",
            param="prompt",
        )


def sees_nothing() -> Unsupported:
    return Unsupported("This model accepts text only, and the prompt has an image. Send text.", param="images")


def shutting_down() -> ShuttingDown:
    return ShuttingDown("The server is shutting down. Retry in a moment.")


def step_failed() -> EngineFailure:
    """The error for the client. The cause goes to the log only: it may contain paths."""
    return EngineFailure("The engine failed in this request's step. Retry the request.")
