"""What the next step computes. Pure Python: no OpenVINO, no thread, no clock.

There is no prefill phase and no decode phase: a step hands out a budget of tokens so that the tokens computed
catch up with the tokens known. Three rules make the text independent of who else is served:

- A prompt is computed in chunks of two tokens or more, unless it is a single token.
- An output token is computed as a row of its own, also when it is computed again after a preemption.
- What is chosen here never depends on the values that are computed, only on counts and order of arrival.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence as Sequence_
from operator import attrgetter

from crossette.engines.openvino.kv_cache import BlockPool, blocks_for
from crossette.engines.openvino.sequence import Batch, Sequence, Span
from crossette.types import TokenOutput

_BY_ARRIVAL = attrgetter("arrival")


class Scheduler:
    """First come, first served: decoding rows first, then the oldest prompts, in a budget of tokens per step."""

    def __init__(self, pool: BlockPool, *, max_sequences: int, max_step_tokens: int) -> None:
        self.pool = pool
        self.max_sequences = max_sequences
        self.max_step_tokens = max_step_tokens
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.num_preemptions = 0

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        insort(self.waiting, sequence, key=_BY_ARRIVAL)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is; its blocks are free at once."""
        for queue in (self.running, self.waiting):
            if sequence in queue:
                queue.remove(sequence)
        self.pool.release(sequence.blocks)

    def schedule(self) -> Batch:
        """Decide the next step. Empty only if nothing is left to do."""
        self._admit()
        spans = self._decode_rows()
        spans += self._catch_up(self.max_step_tokens - len(spans))
        return Batch(tuple(spans))

    def update(self, batch: Batch, tokens: Sequence_[int]) -> list[tuple[Sequence, TokenOutput]]:
        """Take the tokens that a step drew, one for each of `batch.sampled`; give what to tell the requests."""
        for span in batch.spans:
            span.sequence.num_computed = span.start + span.count
        outputs = []
        for sequence, token in zip(batch.sampled, tokens, strict=True):
            sequence.append(token)
            if sequence.finish_reason is not None:
                self.remove(sequence)
            outputs.append((sequence, TokenOutput(sequence.index, (token,), sequence.finish_reason)))
        return outputs

    def _admit(self) -> None:
        """Let waiting sequences in, oldest first, each with blocks for all its known tokens.

        A free block is left for each sequence that runs: without it a newcomer would be computed, only to be
        preempted when its elders grow.
        """
        while self.waiting and len(self.running) < self.max_sequences:
            sequence = self.waiting[0]
            needed = blocks_for(sequence.num_tokens)
            if self.pool.num_free < needed + len(self.running):
                return
            sequence.blocks = self.pool.allocate(needed)
            insort(self.running, self.waiting.pop(0), key=_BY_ARRIVAL)

    def _decode_rows(self) -> list[Span]:
        """One row for each sequence that waits only for its newest token."""
        spans: list[Span] = []
        for sequence in tuple(self.running):
            decodes = sequence.num_pending == 1 and not sequence.in_prompt
            if decodes and len(spans) < self.max_step_tokens and self._hold_block(sequence):
                spans.append(Span(sequence, sequence.num_computed, 1, samples=True))
        return spans

    def _hold_block(self, sequence: Sequence) -> bool:
        """Make sure of a block for the next token, at the cost of younger sequences, or else of this one.

        Rows are given out oldest first, so a victim never has a row in the step already.
        """
        while blocks_for(sequence.num_computed + 1) > len(sequence.blocks):
            if self.pool.num_free:
                sequence.blocks += self.pool.allocate(1)
                continue
            youngest = self.running[-1]
            self._preempt(youngest)
            if youngest is sequence:
                return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.pool.release(sequence.blocks)
        sequence.num_computed = 0
        self.add(sequence)
        self.num_preemptions += 1

    def _catch_up(self, budget: int) -> list[Span]:
        """Prompt chunks, and rows of outputs that were preempted, oldest first."""
        spans: list[Span] = []
        for sequence in self.running:
            if budget <= 0:
                break
            if sequence.in_prompt:
                count = _chunk(len(sequence.prompt), sequence.num_computed, budget)
            elif sequence.num_pending > 1:
                count = min(sequence.num_pending, budget)
            else:
                continue
            if count:
                start = sequence.num_computed
                spans.append(Span(sequence, start, count, samples=start + count == sequence.num_tokens))
                budget -= count
        return spans


def _chunk(length: int, computed: int, budget: int) -> int:
    """The size of a prompt's next chunk: never a single token, now or as the last one left over. 0: not now."""
    if length == 1:
        return 1
    left = length - computed
    count = min(left, budget)
    if left - count == 1:
        count -= 1
    return count if count > 1 else 0


def fits(pool: BlockPool, prompt_tokens: int, num_choices: int) -> bool:
    """Whether a request can ever be served: its prompt, and a block for each choice."""
    return blocks_for(prompt_tokens) + num_choices <= pool.num_blocks
