"""One request, as it is told at its end to the log, the metrics and the traces.

Never a prompt, an output or a key: what stands here may be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from crossette.types import SamplingParams, Usage


@dataclass(frozen=True, slots=True)
class Work:
    """What was generated for a request. Times are seconds since the request began."""

    id: str
    """As in the answer's body."""
    model: str
    """The name of the model itself, whatever alias was asked for."""
    streamed: bool
    num_choices: int
    sampling: SamplingParams
    usage: Usage
    finish_reasons: tuple[str, ...]
    """Of the choices that were told to have ended."""
    read_s: float
    """When the body had been read: other servers and the headers of the answer count from here."""
    queued_s: float | None
    """How long it waited in the engine for its first step: no moment, but the longest wait of its choices."""
    first_token_s: float | None
    ended_s: float | None
    """When the last choice ended; None if the answer was given up."""

    @property
    def time_to_first_token_s(self) -> float | None:
        return None if self.first_token_s is None else self.first_token_s - self.read_s

    @property
    def time_per_token_s(self) -> float | None:
        """Seconds for each token of a choice after its first; None for an answer of single tokens, or given up."""
        num_later = self.usage.completion_tokens - self.num_choices
        if self.first_token_s is None or self.ended_s is None or num_later <= 0:
            return None
        return (self.ended_s - self.first_token_s) * self.num_choices / num_later


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """What is known of a request when its last byte was sent, or its client is gone."""

    id: str
    """As in x-request-id."""
    method: str
    path: str
    route: str
    """The pattern that the path matched; "" for none."""
    endpoint: str
    """The route below its dialect's prefix: `chat/completions`."""
    dialect: str
    status: int
    """499 if the client hung up; 0 if the server broke off before it answered."""
    begun_at: float
    """Seconds since the epoch."""
    seconds: float
    key_id: str = ""
    """Whose request it was, as `crossette keys list` names the key; empty without one."""
    model_asked: str = ""
    """As the client spelled it: anything at all."""
    error: str = ""
    """The kind of the error that was told, as a status or in a stream (`ServingError.kind`)."""
    mismatch: str = ""
    """How a finished answer breaks its response format or tool choice, if that is the error."""
    work: Work | None = None
    recorded: Mapping[str, object] = field(default_factory=dict)
    """What the request says of itself: `user`, `metadata` and their like."""
    trace: Mapping[str, str] = field(default_factory=dict)
    """`traceparent` and `tracestate`, as far as they were sent; nothing if they are not valid."""
    trace_id: str = ""
    """The trace that it belongs to, as 32 hex digits: the caller's, or where spans are made its own; "" for none."""


Observer = Callable[[RequestRecord], None]
"""Is told of each request at its end, in the event loop: it must be quick."""
