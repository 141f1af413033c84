"""The scheduler's state of one choice of a request, and the data types of a step."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.engines.grammar.compiler import Matcher
from crossette.engines.openvino.drafts import PromptLookup
from crossette.engines.openvino.kv_cache import BLOCK_SIZE, blocks_for
from crossette.engines.openvino.prefix_cache import Key, num_reusable, output_key, request_keys
from crossette.engines.openvino.sampler import TokenSampler
from crossette.errors import ServingError
from crossette.types import FinishReason, GenerationRequest, Logprob


class Sequence:
    """One choice of a request: its known tokens, how many are computed, and their KV blocks.

    A token is known if it is in the prompt or was sampled, and computed once its keys and values are in the cache.
    """

    __slots__ = (
        "arrival",
        "blocks",
        "counts_cached",
        "drafter",
        "finish_reason",
        "forks",
        "has_begun",
        "hidden_state",
        "index",
        "keys",
        "last_output_s",
        "max_output",
        "num_cached",
        "num_computed",
        "num_known",
        "num_shared",
        "output",
        "output_keys",
        "prompt",
        "request",
        "rows",
        "sampler",
        "scores",
        "scores_apart",
        "snapshots",
        "window_blocks",
        "window_start",
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
        scores_apart: bool = False,
    ) -> None:
        self.request = request
        self.index = index
        self.arrival = arrival
        """Position in the order of arrival: older sequences are admitted first and preempted last."""
        self.sampler = TokenSampler(
            request.sampling,
            seed=seed,
            prompt=request.prompt,
            end_token_ids=request.end_token_ids,
            matcher=matcher,
        )
        self.drafter: PromptLookup | None = None
        """Created when the sequence begins to decode, if speculative decoding is on."""
        self.scores: list[Logprob] = []
        """Logprobs of the prompt's tokens from the second on, if requested."""
        self.scores_apart = scores_apart
        """Whether these are computed without logits."""
        self.hidden_state: bytes | None = None
        """Of the prompt's last token, if requested, once the prompt is computed."""
        self.max_output = max_output
        self.keys = request_keys(request) if keys is None else keys
        """Prefix cache keys of the prompt's full blocks; shared by all choices of a request."""
        self.output_keys: list[Key] = []
        """Those of the full blocks after these, as far as they are in the prefix cache."""
        self.prompt = request.prompt
        self.output: list[int] = []
        self.blocks: list[int] = []
        self.window_blocks: list[int] = []
        """Those of layers with sliding window attention, from the block `window_start` of its tokens on."""
        self.window_start = 0
        self.rows: list[int] = []
        """Rows of recurrent states: one with the state after the computed tokens, and one per draft token of a step."""
        self.snapshots: tuple[int, ...] = ()
        """After how many blocks of its prompt a snapshot of the state is taken; those ahead of the computed tokens."""
        self.num_computed = 0
        self.num_cached = 0
        """Prompt tokens that came from the prefix cache."""
        self.num_known = self.num_shared = 0
        """Estimates for its first blocks: those that need not be computed for it, and those that others hold too."""
        self.counts_cached = True
        """Whether prefix cache hits count as cached tokens: not for blocks that this request computed itself before."""
        self.has_begun = False
        """Whether a step has computed something for it, or for the choice that it forked from."""
        self.last_output_s = 0.0
        """When its last output was delivered, by `time.monotonic`; 0 before the first."""
        self.forks: list[Sequence] = []
        """Other choices of the request, which fork from this one at the end of the prompt."""
        self.finish_reason: FinishReason | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.prompt) + len(self.output)

    @property
    def num_pending(self) -> int:
        """Known tokens that are not computed: one for a sequence that decodes."""
        return len(self.prompt) + len(self.output) - self.num_computed

    @property
    def num_pending_prompt(self) -> int:
        """Estimate of the prompt tokens still to compute for it."""
        return max(0, len(self.prompt) - max(self.num_computed, self.num_known * BLOCK_SIZE))

    @property
    def num_own_blocks(self) -> int:
        """Estimate of the blocks that it alone holds or needs."""
        return blocks_for(self.num_tokens) - self.num_shared

    @property
    def in_prompt(self) -> bool:
        """Whether the next token to compute is in the prompt."""
        return self.num_computed < len(self.prompt)

    @property
    def num_reusable(self) -> int:
        """How many of its first blocks may come from the prefix cache; none with prompt_logprobs."""
        return 0 if self.request.prompt_logprobs else num_reusable(len(self.prompt))

    @property
    def owner(self) -> tuple[str, str]:
        """Whose texts may speed up its own."""
        return self.request.tenant, self.request.isolation_key

    def tokens(self, start: int, count: int) -> list[int] | tuple[int, ...]:
        """A range of known tokens, which lies in the prompt or in the output."""
        if start < len(self.prompt):
            return self.prompt[start : start + count]
        start -= len(self.prompt)
        return self.output[start : start + count]

    def block_key(self, index: int) -> Key:
        """The prefix cache key of a full block of known tokens."""
        while len(self.keys) + len(self.output_keys) <= index:
            start = (len(self.keys) + len(self.output_keys)) * BLOCK_SIZE
            text = (*self.prompt[start:], *self.output[max(0, start - len(self.prompt)) :])
            keys = self.output_keys or self.keys
            self.output_keys.append(output_key(self.request, keys, start, text[:BLOCK_SIZE]))
        return self.keys[index] if index < len(self.keys) else self.output_keys[index - len(self.keys)]

    def is_end(self, token: int) -> bool:
        return token in self.request.end_token_ids and not self.request.sampling.ignore_eos

    def append(self, token: int) -> None:
        """Append a sampled token; set the finish reason if it ends the sequence."""
        self.output.append(token)
        if self.drafter is not None:
            self.drafter.append(token)
        if self.is_end(token):
            self.finish_reason = FinishReason.STOP
        elif len(self.output) >= self.max_output:
            self.finish_reason = FinishReason.LENGTH


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of one sequence that a step computes: a chunk of its prompt, or tokens of its output.

    Prompt and output never share a span: their keys and values come from kernels that differ in the last
    digits, so each token is always computed the same way (docs/exactness.md).
    """

    sequence: Sequence
    start: int
    count: int
    samples: bool
    """Whether the step samples the token that follows."""
    drafts: tuple[int, ...] = ()
    """Draft tokens that follow; accepted as long as they equal the sampled tokens."""
    forks: tuple[Sequence, ...] = ()
    """Other choices that sample from the same logits, and continue on their own."""

    @property
    def is_prompt(self) -> bool:
        return self.start < len(self.sequence.prompt)

    @property
    def num_tokens(self) -> int:
        """Tokens that the step computes for this span, draft tokens included."""
        return self.count + len(self.drafts)

    @property
    def num_scored(self) -> int:
        """Number of prompt tokens whose logprobs come from this span: each token's logits score the next."""
        sequence = self.sequence
        if not (self.is_prompt and sequence.request.prompt_logprobs) or sequence.output:
            return 0
        return min(self.count, len(sequence.prompt) - 1 - self.start)

    @property
    def scored(self) -> tuple[int, ...]:
        """These prompt tokens."""
        return self.sequence.prompt[self.start + 1 : self.start + 1 + self.num_scored]

    @property
    def num_wanted(self) -> int:
        """How many of its last tokens need logits."""
        if self.num_scored and not self.sequence.scores_apart:
            return self.count
        return 1 + len(self.drafts) if self.samples else 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One step: copies (from, to) of blocks and of the rows of states, then the spans to compute."""

    spans: tuple[Span, ...]
    copies: tuple[tuple[int, int], ...] = ()
    window_copies: tuple[tuple[int, int], ...] = ()
    """Of blocks of layers with sliding window attention."""
    row_copies: tuple[tuple[int, int], ...] = ()
    """In order; from -1 clears a row."""


@dataclass(frozen=True, slots=True)
class SampledToken:
    """Tokens that one step sampled for one sequence, in order."""

    sequence: Sequence
    tokens: tuple[int, ...]
    logprobs: tuple[Logprob, ...] | None = None
    """One entry per token, if requested."""
    num_drafts: int = 0
    """Number of verified draft tokens."""
    num_forced: int = 0
    """Number of tokens at the end that the grammar forced; not computed yet. All before but one were drafts."""
    error: ServingError | None = None
    """The error that ends the sequence."""
