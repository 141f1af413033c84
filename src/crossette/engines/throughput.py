"""How fast an engine is, from the steps it has done: what an estimate of waiting is made of. No clock of its own."""

from __future__ import annotations

from crossette.engine import Speeds

_MEMORY = 0.2
"""The weight of the newest: five steps, or answers, are remembered or so."""


class Throughput:
    """Learns from finished steps."""

    def __init__(self) -> None:
        self._prompts = _Rate()
        self._outputs = _Rate()
        self._mean_output = 0.0

    def observe(self, *, prompt_tokens: int, output_tokens: int, seconds: float) -> None:
        """Learn from a step. One without prompts says nothing of how fast prompts are, and so with outputs."""
        if prompt_tokens:
            self._prompts.add(prompt_tokens, seconds)
        if output_tokens:
            self._outputs.add(output_tokens, seconds)

    def note_end(self, output_tokens: int) -> None:
        """Learn from a choice that has ended how long choices are."""
        if self._mean_output == 0:
            self._mean_output = output_tokens
        self._mean_output += _MEMORY * (output_tokens - self._mean_output)

    @property
    def speeds(self) -> Speeds:
        return Speeds(self._prompts.per_s, self._outputs.per_s, self._mean_output, self._outputs.step_s)


class _Rate:
    """Tokens and seconds of late, the newest weighing most: slow steps count for as long as they took."""

    def __init__(self) -> None:
        self._tokens = self.step_s = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        weight = _MEMORY if self.step_s else 1.0
        self._tokens += weight * (tokens - self._tokens)
        self.step_s += weight * (seconds - self.step_s)

    @property
    def per_s(self) -> float:
        return self._tokens / self.step_s if self.step_s else 0.0
