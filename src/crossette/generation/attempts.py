"""Further attempts at a choice whose text fails a check that no grammar can enforce."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from crossette.engine import Generation
from crossette.generation.choice import Choice, Delta
from crossette.text.output_plan import OutputPlan
from crossette.text.pieces import Content, ReasoningText, ToolCallStart
from crossette.types import GenerationRequest

_MASK = 2**64 - 1


def attempt(request: GenerationRequest, index: int, number: int) -> GenerationRequest | None:
    """The request of attempt `number` (2, 3, …) at choice `index` of a prompt; None if it would give the same text.

    The seed is derived from the request's, the choice's index and the number alone, so that the same request gives the
    same text.
    """
    sampling = request.sampling
    if sampling.temperature == 0:
        return None
    if sampling.seed is not None:
        sampling = replace(sampling, seed=derived_seed(sampling.seed + index, number))
    return replace(request, id=f"{request.id}-{index}-{number}", n=1, sampling=sampling)


def derived_seed(seed: int, number: int) -> int:
    """Mix a seed and the number of an attempt (the finalizer of splitmix64)."""
    value = (seed + number * 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class HeldDeltas:
    """The deltas of one choice that wait for its check, from the first piece on that the check may reject.

    `holds_all`: nothing is released before the check, so that every failed check can be followed by another attempt.
    """

    def __init__(self, plan: OutputPlan, *, holds_all: bool) -> None:
        self._plan = plan
        self._is_holding = self._holds_all = holds_all
        self._deltas: list[Delta] = []
        self.is_released = False
        """Whether the client may have text of the choice, so that it cannot be replaced."""

    def release(self, delta: Delta) -> list[Delta]:
        """Add the next delta. Return those that can be sent now."""
        self._is_holding = self._is_holding or any(self._may_fail(piece) for piece in delta.pieces)
        self._deltas.append(delta)
        if self._is_holding and delta.finish_reason is None:
            return []
        self.is_released = True
        released, self._deltas = self._deltas, []
        return released

    def restart(self) -> None:
        """Drop the deltas of a failed attempt."""
        self._is_holding, self._deltas = self._holds_all, []

    def _may_fail(self, piece: object) -> bool:
        match piece:
            case Content():
                return self._plan.output_format is not None and bool(self._plan.output_format.checked)
            case ToolCallStart():
                return self._plan.tool_set is not None and bool(self._plan.tool_set.checked)
            case ReasoningText():
                return False
        return True


@dataclass(slots=True)
class Retry:
    """Begins further attempts: at most `max_attempts` at each choice, the first one included."""

    generate: Callable[[GenerationRequest], Generation]
    choice: Callable[[int, GenerationRequest, Choice], Choice]
    """Creates a choice that counts the tokens of the previous attempt as well."""
    max_attempts: int
    held: list[HeldDeltas]
    """By the index of the choice."""
    num_attempts: Counter[int] = field(default_factory=Counter)
    """Failed attempts by the index of the choice."""

    def begin(self, failed: Choice, request: GenerationRequest, index: int) -> tuple[Choice, Generation] | None:
        """Begin another attempt at choice `index` of a prompt; None if there is none, or text of it was sent."""
        self.num_attempts[failed.index] += 1
        number = self.num_attempts[failed.index] + 1
        again = attempt(request, index, number)
        if again is None or number > self.max_attempts or self.held[failed.index].is_released:
            return None
        self.held[failed.index].restart()
        return self.choice(failed.index, request, failed), self.generate(again)
