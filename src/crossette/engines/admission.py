"""What every engine at token level refuses before it begins, in the same words."""

from __future__ import annotations

from collections.abc import Iterable

from crossette.engine import ModelInfo
from crossette.errors import ContextLengthExceeded, EngineFailure, InvalidRequest, ShuttingDown, Unsupported
from crossette.types import GenerationRequest

NOT_BUILT = ("constraint", "reasoning")
"""Fields of a request that no engine honours yet."""


def check(request: GenerationRequest, info: ModelInfo, not_built: Iterable[str] = NOT_BUILT) -> None:
    """Raise InvalidRequest, Unsupported or ContextLengthExceeded for what this engine cannot be asked."""
    for name in not_built:
        value = getattr(request, name)
        if value is not None and value is not False and value != ():  # logprobs=0 asks for logprobs too
            raise Unsupported(f"This engine does not support {name} yet.", param=name)
    if not request.prompt:
        raise InvalidRequest("The prompt has no tokens: there is nothing to continue.", param="prompt")
    if min(request.prompt) < 0 or max(request.prompt) >= info.vocab_size:
        place, token = next((i, t) for i, t in enumerate(request.prompt) if not 0 <= t < info.vocab_size)
        raise InvalidRequest(
            f"Token {place} of the prompt is {token}, but the vocabulary ends at {info.vocab_size - 1}.",
            param="prompt",
        )
    for token, _ in request.sampling.logit_bias:
        if not 0 <= token < info.vocab_size:
            raise InvalidRequest(
                f"'logit_bias' has token id {token}, but the vocabulary ends at {info.vocab_size - 1}.",
                param="logit_bias",
            )
    if len(request.prompt) >= info.context_length:
        raise ContextLengthExceeded(
            f"The prompt is too long: {len(request.prompt)}, model maximum context length: {info.context_length - 1}",
            param="prompt",
        )


def shutting_down() -> ShuttingDown:
    return ShuttingDown("The server is shutting down. Retry in a moment.")


def step_failed() -> EngineFailure:
    """What the client is told; the cause is for the log alone: it may show paths."""
    return EngineFailure("The engine failed in this request's step; its log has the cause. Retry the request.")
