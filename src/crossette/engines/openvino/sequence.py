"""The scheduler's record of one choice of a request, and a step's decision about it as data."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.engines.grammar.compiler import Matcher
from crossette.engines.openvino.drafts import PromptLookup
from crossette.engines.openvino.kv_cache import BLOCK_SIZE, blocks_for
from crossette.engines.openvino.prefix_cache import Key, block_keys, num_reusable
from crossette.engines.openvino.sampler import TokenSampler
from crossette.errors import ServingError
from crossette.types import FinishReason, GenerationRequest, Logprob


class Sequence:
    """Tokens known, tokens computed, and the blocks that hold the computed ones.

    A token is known once it was prompted or drawn, and computed once its keys and values are in the cache.
    """

    __slots__ = (
        "arrival",
        "blocks",
        "counts_cached",
        "drafter",
        "finish_reason",
        "forks",
        "has_begun",
        "index",
        "keys",
        "max_output",
        "num_cached",
        "num_computed",
        "num_known",
        "num_shared",
        "output",
        "prompt",
        "request",
        "sampler",
        "scores",
        "spoke_s",
    )

    def __init__(
        self,
        request: GenerationRequest,
        index: int,
        *,
        arrival: int,
        seed: int,
        max_output: int,
        keys: tuple[Key, ...] | None = None,
        matcher: Matcher | None = None,
    ) -> None:
        self.request = request
        self.index = index
        self.arrival = arrival
        """Place in the order of arrival: who is served first, and who gives way last."""
        self.sampler = TokenSampler(
            request.sampling,
            seed=seed,
            prompt=request.prompt,
            end_token_ids=request.end_token_ids,
            matcher=matcher,
        )
        self.drafter: PromptLookup | None = None
        """Made when the sequence begins to decode, if it may guess at all."""
        self.scores: list[Logprob] = []
        """Of the prompt's tokens from the second on, where the request wants them."""
        self.max_output = max_output
        self.keys = block_keys(request.prompt, request.tenant, request.isolation_key) if keys is None else keys
        """Of the prompt's full blocks, for the prefix cache; given where a sibling has made them."""
        self.prompt = request.prompt
        self.output: list[int] = []
        self.blocks: list[int] = []
        self.num_computed = 0
        self.num_cached = 0
        """Tokens of the prompt that this sequence did not have to compute."""
        self.num_known = self.num_shared = 0
        """Of its first blocks, those that need not be computed for it, and those that others hold too, by estimate."""
        self.counts_cached = True
        """Whether what it finds in the cache is saved: not what it, or a sibling for it, has computed before."""
        self.has_begun = False
        """Whether a step has computed something for it, or for a sibling that it began with."""
        self.spoke_s = 0.0
        """When its last output was delivered, on the engine's clock; 0 before the first."""
        self.forks: list[Sequence] = []
        """Other choices of the request, which begin where this one ends its prompt."""
        self.finish_reason: FinishReason | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.prompt) + len(self.output)

    @property
    def num_pending(self) -> int:
        """Tokens known but not computed: one for a sequence that decodes."""
        return len(self.prompt) + len(self.output) - self.num_computed

    @property
    def num_pending_prompt(self) -> int:
        """Tokens of the prompt that are still to be computed for it, by estimate."""
        return max(0, len(self.prompt) - max(self.num_computed, self.num_known * BLOCK_SIZE))

    @property
    def num_own_blocks(self) -> int:
        """Blocks that it holds or needs for itself alone, by estimate."""
        return blocks_for(self.num_tokens) - self.num_shared

    @property
    def in_prompt(self) -> bool:
        """Whether the next token to compute is one of the prompt."""
        return self.num_computed < len(self.prompt)

    @property
    def num_reusable(self) -> int:
        """How many of its first blocks may come from the prefix cache. A prompt to be scored is computed whole."""
        return 0 if self.request.prompt_logprobs else num_reusable(len(self.prompt))

    def tokens(self, start: int, count: int) -> list[int] | tuple[int, ...]:
        """Known tokens, all of the prompt or all of the output."""
        if start < len(self.prompt):
            return self.prompt[start : start + count]
        start -= len(self.prompt)
        return self.output[start : start + count]

    def is_end(self, token: int) -> bool:
        return token in self.request.end_token_ids and not self.request.sampling.ignore_eos

    def append(self, token: int) -> None:
        """Add a drawn token and note whether it ends the sequence."""
        self.output.append(token)
        if self.drafter is not None:
            self.drafter.append(token)
        if self.is_end(token):
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
    drafts: tuple[int, ...] = ()
    """Guesses at the tokens that follow: computed as rows, and kept as far as they are what is drawn."""
    forks: tuple[Sequence, ...] = ()
    """Other sequences that draw from the same logits, and go on alone."""

    @property
    def is_prompt(self) -> bool:
        return self.start < len(self.sequence.prompt)

    @property
    def num_rows(self) -> int:
        """Tokens that the step computes for this span."""
        return self.count + len(self.drafts)

    @property
    def num_scored(self) -> int:
        """How many of the prompt's tokens this span's logits score: each scores the one after it."""
        sequence = self.sequence
        if not (self.is_prompt and sequence.request.prompt_logprobs) or sequence.output:
            return 0
        return min(self.count, len(sequence.prompt) - 1 - self.start)

    @property
    def num_wanted(self) -> int:
        """How many of its last rows' logits are asked for."""
        if self.num_scored:
            return self.count
        return 1 + len(self.drafts) if self.samples else 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step computes, after it has copied blocks (from, to)."""

    spans: tuple[Span, ...]
    copies: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SampledToken:
    """Tokens that one step gave one sequence, in order."""

    sequence: Sequence
    tokens: tuple[int, ...]
    logprobs: tuple[Logprob, ...] | None = None
    """A record for each token, where the request wants them."""
    num_drafts: int = 0
    """How many guesses were checked."""
    num_forced: int = 0
    """How many of the tokens, the last ones, the grammar forced: not computed yet. All before but one were guesses."""
    error: ServingError | None = None
    """Why the sequence cannot go on."""
