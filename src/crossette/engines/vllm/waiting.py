"""The queue before vLLM, which has no fairness between tenants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from crossette.engines.stream import OutputStream
from crossette.engines.throughput import AnswerLengths
from crossette.engines.vllm.params import Values
from crossette.engines.wait import QueuedSequence
from crossette.types import GenerationRequest


@dataclass(eq=False, slots=True)
class VllmChoice:
    """One choice of a request: a request of its own to vLLM."""

    request: GenerationRequest
    index: int
    stream: OutputStream
    params: Values
    max_tokens: int
    """Tokens that it may have; 0 to score the prompt alone."""
    num_tokens: int = 0
    """Tokens that it has."""
    sent_s: float = 0.0
    """When it was sent to vLLM."""
    first_s: float = 0.0
    """When its first token came; 0 before."""
    last_s: float = 0.0
    stop: Callable[[], object] = field(default=lambda: None)
    """Ends it in vLLM."""

    def queued(self, lengths: AnswerLengths, number: int) -> QueuedSequence:
        """The choice for a wait estimate. Whether vLLM has a part of the prompt in its cache is not known."""
        return QueuedSequence(
            0 if self.first_s else len(self.request.prompt),
            lengths.left(self.num_tokens, self.max_tokens, number),
            tenant=self.request.tenant,
            priority=self.request.priority,
        )


def next_choice(waiting: Iterable[VllmChoice], running: Iterable[VllmChoice]) -> VllmChoice:
    """The next choice to send: by priority, then of the tenant with the fewest running choices, then the oldest."""
    counts = Counter(choice.request.tenant for choice in running)
    return min(waiting, key=lambda choice: (-choice.request.priority, counts[choice.request.tenant]))
