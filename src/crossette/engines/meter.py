"""The metrics that all token-level engines record, by the same definitions.

Only the engine's thread writes, a few additions per step; values are formatted when a snapshot is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from crossette.engine import EngineTimes
from crossette.engines.stream import OutputStream
from crossette.histogram import SECONDS, SIZES, Histogram

_seconds = partial(Histogram, SECONDS)
_sizes = partial(Histogram, SIZES)


@dataclass(frozen=True, slots=True)
class Meter:
    """The histograms of one engine; `EngineTimes` defines each."""

    queue: Histogram = field(default_factory=_seconds)
    token_gap: Histogram = field(default_factory=_seconds)
    cancellation: Histogram = field(default_factory=_seconds)
    step: Histogram = field(default_factory=_seconds)
    step_tokens: Histogram = field(default_factory=_sizes)
    step_sequences: Histogram = field(default_factory=_sizes)

    def observe_begin(self, stream: OutputStream, now: float) -> None:
        """Record that a step begins a choice of a request; the last choice to begin sets the request's queue time."""
        waited = now - stream.arrived_s
        if stream.queued_s is None:
            self.queue.observe(waited)
        stream.queued_s = waited

    def observe_step(self, seconds: float, *, num_tokens: int, num_sequences: int) -> None:
        self.step.observe(seconds)
        self.step_tokens.observe(num_tokens)
        self.step_sequences.observe(num_sequences)

    def snapshot(self) -> EngineTimes:
        return EngineTimes(
            queue=self.queue.snapshot(),
            token_gap=self.token_gap.snapshot(),
            cancellation=self.cancellation.snapshot(),
            step=self.step.snapshot(),
            step_tokens=self.step_tokens.snapshot(),
            step_sequences=self.step_sequences.snapshot(),
        )
