"""What any engine at token level measures while it steps, by the same definitions.

All of it is written by the thread that steps, a few additions a step; nothing is formatted until somebody looks.
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
    """The histograms of one engine, each as `EngineTimes` explains it."""

    queue: Histogram = field(default_factory=_seconds)
    token_gap: Histogram = field(default_factory=_seconds)
    cancellation: Histogram = field(default_factory=_seconds)
    step: Histogram = field(default_factory=_seconds)
    step_tokens: Histogram = field(default_factory=_sizes)
    step_sequences: Histogram = field(default_factory=_sizes)

    def observe_begin(self, stream: OutputStream, now: float) -> None:
        """Note that a step begins one more choice of a request: of its choices, the last to begin waited longest."""
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
