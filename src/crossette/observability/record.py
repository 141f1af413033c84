"""The record of a finished request, for the log, the metrics and the traces.

It never contains a prompt, an output or a key, so that it may be stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from crossette.types import SamplingParams, Usage


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """The generation part of a request record. Times are seconds since the request began."""

    id: str
    """The response id."""
    model: str
    """The name of the served model, also if an alias was requested."""
    streamed: bool
    num_choices: int
    sampling: SamplingParams | None
    """None if an upstream has its own, or nothing is sampled."""
    usage: Usage
    finish_reasons: tuple[str, ...]
    """The finish reasons that were sent."""
    read_s: float
    """When the body had been read. Times in other servers and in the response headers start here."""
    queued_s: float | None
    """The queue time in the engine until its first step, as a duration: the longest of its choices."""
    first_token_s: float | None
    ended_s: float | None
    """When the last choice ended; None if the request was aborted."""

    @property
    def time_to_first_token_s(self) -> float | None:
        return None if self.first_token_s is None else self.first_token_s - self.read_s

    @property
    def time_per_token_s(self) -> float | None:
        """Mean seconds per token of a choice after its first; None without such tokens or if it was aborted."""
        num_later = self.usage.completion_tokens - self.num_choices
        if self.first_token_s is None or self.ended_s is None or num_later <= 0:
            return None
        return (self.ended_s - self.first_token_s) * self.num_choices / num_later


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request whose last byte was sent or whose client disconnected."""

    id: str
    """The x-request-id."""
    method: str
    path: str
    route: str
    """The matched path pattern; "" for none."""
    endpoint: str
    """The route without its dialect's prefix: `chat/completions`."""
    dialect: str
    status: int
    """499 if the client disconnected; 0 if the server stopped before it responded."""
    begun_at: float
    """Seconds since the epoch."""
    seconds: float
    key_id: str = ""
    """The key's id, as in `crossette keys list`; empty without a key."""
    model_asked: str = ""
    """The requested model name: arbitrary client input."""
    error: str = ""
    """The kind of the error that was sent, as a status or in a stream (`ServingError.kind`)."""
    hint: str = ""
    """What an operator can change to avoid the error; never sent."""
    mismatch: str = ""
    """How a finished answer violates its response format or tool choice, if that is the error."""
    work: GenerationRecord | None = None
    recorded: Mapping[str, object] = field(default_factory=dict)
    """Client metadata of the request: `user`, `metadata` and the like."""
    trace: Mapping[str, str] = field(default_factory=dict)
    """The `traceparent` and `tracestate` headers if sent; empty if invalid."""
    trace_id: str = ""
    """The trace id as 32 hex digits: the client's, or a new one if spans are exported; "" for none."""


Observer = Callable[[RequestRecord], None]
"""Called with each finished request, in the event loop: it must return quickly."""
