"""The scheduler's record of one choice of a request, and a step's decision about it as data."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.types import FinishReason, GenerationRequest


class Sequence:
    """Tokens known, tokens computed, and the blocks that hold the computed ones.

    A token is known once it was prompted or drawn, and computed once its keys and values are in the cache.
    """

    __slots__ = (
        "arrival",
        "blocks",
        "finish_reason",
        "index",
        "max_output",
        "num_computed",
        "output",
        "prompt",
        "request",
        "seed",
    )

    def __init__(self, request: GenerationRequest, index: int, *, arrival: int, seed: int, max_output: int) -> None:
        self.request = request
        self.index = index
        self.arrival = arrival
        """Place in the order of arrival: who is served first, and who gives way last."""
        self.seed = seed
        self.max_output = max_output
        self.prompt = request.prompt
        self.output: list[int] = []
        self.blocks: list[int] = []
        self.num_computed = 0
        self.finish_reason: FinishReason | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.prompt) + len(self.output)

    @property
    def num_pending(self) -> int:
        """Tokens known but not computed: one for a sequence that decodes."""
        return len(self.prompt) + len(self.output) - self.num_computed

    @property
    def in_prompt(self) -> bool:
        """Whether the next token to compute is one of the prompt."""
        return self.num_computed < len(self.prompt)

    def tokens(self, start: int, count: int) -> list[int] | tuple[int, ...]:
        """Known tokens, all of the prompt or all of the output."""
        if start < len(self.prompt):
            return self.prompt[start : start + count]
        start -= len(self.prompt)
        return self.output[start : start + count]

    def append(self, token: int) -> None:
        """Add a drawn token and note whether it ends the sequence."""
        self.output.append(token)
        if token in self.request.end_token_ids and not self.request.sampling.ignore_eos:
            self.finish_reason = FinishReason.STOP
        elif len(self.output) >= self.max_output:
            self.finish_reason = FinishReason.LENGTH


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of one sequence that a step computes: a chunk of its prompt, or rows of its output.

    Prompt and output never share a span: their keys and values come from kernels that differ in the last
    digits, so each token is always computed the same way (docs/exactness.md).
    """

    sequence: Sequence
    start: int
    count: int
    samples: bool
    """Whether the step draws the token that follows."""

    @property
    def is_prompt(self) -> bool:
        return self.start < len(self.sequence.prompt)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step computes."""

    spans: tuple[Span, ...]

    @property
    def sampled(self) -> list[Sequence]:
        """The sequences that get a token from this step, in the order of the step's logits."""
        return [span.sequence for span in self.spans if span.samples]
