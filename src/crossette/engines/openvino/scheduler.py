"""The scheduler: decides what the next step computes. Pure Python: no OpenVINO, no thread, no clock.

There is no prefill phase and no decode phase: each step distributes a budget of tokens, so that the computed tokens
catch up with the known tokens. Three rules make the output independent of other requests:

- A prompt is computed in chunks of two tokens or more, unless it is a single token.
- No span has tokens of both prompt and output, also when these are recomputed after a preemption.
- A draft token is accepted if and only if it is the token sampled there.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from crossette.engines.openvino.cache_manager import CacheManager, Needs
from crossette.engines.openvino.drafts import PromptLookup, RecentLookups
from crossette.engines.openvino.kv_cache import blocks_for
from crossette.engines.openvino.sequence import Batch, SampledToken, Sequence, Span
from crossette.types import FinishReason, TokenOutput


def _rank(sequence: Sequence) -> tuple[int, int]:
    """The order in a step: by priority, then by age."""
    return -sequence.request.priority, sequence.arrival


def _is_background(sequence: Sequence) -> bool:
    return sequence.request.priority < 0


def _is_behind(running: Sequence, sequence: Sequence) -> bool:
    """Whether a running sequence must leave its place to another: if it runs in the background, below priority 0."""
    return running.request.priority < min(sequence.request.priority, 0)


class Scheduler:
    """Schedules decode tokens first, then the oldest prompts, within a token budget per step. Fair between tenants.

    A lower priority comes later in a step and is preempted first. Below 0 it is the background: others preempt it, and
    it gets what they leave of a step's budget.
    """

    def __init__(
        self, caches: CacheManager, *, max_sequences: int, max_step_tokens: int, max_draft_rows: int = 0
    ) -> None:
        self.caches = caches
        self.max_sequences = max_sequences
        self.max_step_tokens = max_step_tokens
        self.max_draft_rows = max_draft_rows
        """Tokens up to which a step of decoding sequences is filled with draft tokens; 0 for none."""
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._recent = RecentLookups()
        self.num_preemptions = 0
        self.num_drafts = self.num_accepted = 0
        self.begun: list[Sequence] = []
        """Sequences that the last step computes for the first time."""

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def announce(self, sequence: Sequence) -> None:
        """Estimate what remains to compute of a sequence's prompt, and promise those blocks to later sequences.

        `add` calls this; any thread may call it earlier.
        """
        self.caches.announce(sequence)

    def add(self, sequence: Sequence) -> None:
        self.announce(sequence)
        insort(self.waiting, sequence, key=_rank)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence in any state; its blocks are free at once."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        else:
            self._remove_fork(sequence)
        self.caches.release(sequence)
        if sequence.drafter is not None:
            self._recent.add(sequence.owner, sequence.drafter)
        if sequence.forks:  # the next choice computes the prompt instead
            successor, *rest = sequence.forks
            successor.forks, sequence.forks = rest, []
            self.add(successor)

    @property
    def num_waiting(self) -> int:
        """Sequences without a slot, further choices of a prompt included. May be called from another thread."""
        return len(self.waiting) + sum(len(sequence.forks) for sequence in (*self.waiting, *self.running))

    @property
    def num_pending_prompt_tokens(self) -> int:
        """Prompt tokens still to compute. May be called from another thread; an estimate then."""
        return sum(sequence.num_pending_prompt for sequence in (*self.running, *self.waiting))

    @property
    def num_decoding(self) -> int:
        """Running sequences whose prompt is computed, without those in the background."""
        return sum(not sequence.in_prompt and not _is_background(sequence) for sequence in self.running)

    def schedule(self, budget: int | None = None) -> Batch:
        """Decide the next step, of `budget` tokens at most. Empty only if there is nothing to compute."""
        self.begun = []
        self._admit()
        left = min(budget or self.max_step_tokens, self.max_step_tokens)
        decoded, caught_up = self._share(left, is_background=False)
        left -= sum(span.num_tokens for span in (*decoded, *caught_up))
        more_decoded, more_caught_up = self._share(left, is_background=True, is_alone=not (decoded or caught_up))
        spans = [*decoded, *more_decoded, *caught_up, *more_caught_up]
        return self.caches.step(spans)

    def _share(self, left: int, *, is_background: bool, is_alone: bool = True) -> tuple[list[Span], list[Span]]:
        """What the background or all others get of a step in which `left` tokens are left.

        Without others in the step the background decodes as they do, beyond the budget and with draft tokens.
        """
        decoded = self._decode(self.max_step_tokens if is_alone else left, is_background=is_background)
        if is_alone:
            decoded = self._with_drafts(decoded)
        left -= sum(span.num_tokens for span in decoded)
        return decoded, self._catch_up(left, is_background=is_background)

    def update(self, batch: Batch, sampled: Iterable[SampledToken]) -> list[tuple[Sequence, TokenOutput]]:
        """Apply what a step computed and sampled. Returns the outputs for the requests."""
        for span in batch.spans:
            self.caches.note_computed(span)
        return [(one.sequence, self._append(one)) for one in sampled]

    def _append(self, sampled: SampledToken) -> TokenOutput:
        """Append sampled tokens to their sequence, which may end with them."""
        sequence = sampled.sequence
        is_first = not sequence.output
        for token in sampled.tokens:
            sequence.append(token)
        if sequence.max_output == 0:
            sequence.finish_reason = FinishReason.LENGTH
        if sequence.sampler.is_over:
            sequence.finish_reason = FinishReason.STOP
        num_accepted = max(0, len(sampled.tokens) - sampled.num_forced - 1)
        self.caches.accept_drafts(sequence, num_accepted)
        if sampled.num_drafts and sequence.drafter is not None:
            sequence.drafter.update(sampled.num_drafts, num_accepted)
        self.num_drafts += sampled.num_drafts
        self.num_accepted += num_accepted
        output = TokenOutput(
            sequence.index,
            sampled.tokens,
            sequence.finish_reason,
            cached_tokens=sequence.num_cached if is_first else 0,
            accepted_tokens=num_accepted,
            rejected_tokens=sampled.num_drafts - num_accepted,
            logprobs=sampled.logprobs,
            prompt_logprobs=tuple(sequence.scores) if is_first and sequence.scores else None,
            hidden_state=sequence.hidden_state if is_first else None,
        )
        if sequence.finish_reason is not None:
            self.remove(sequence)
        return output

    def _admit(self) -> None:
        """Admit waiting sequences, each with blocks for all its known tokens.

        Leaves a free block for each running sequence: otherwise a new sequence would be computed only to be preempted
        when older ones grow. Sequences in the background are preempted if there is no room otherwise.
        """
        while self.waiting:
            sequence = self._next()
            if len(self.running) >= self.max_sequences and not _is_behind(self.running[-1], sequence):
                return
            if not self.caches.admit(sequence, partial(self._make_room, sequence)):
                return
            self.waiting.remove(sequence)
            insort(self.running, sequence, key=_rank)

    def _make_room(self, sequence: Sequence, needs: Needs) -> bool:
        """Whether there is a slot and the blocks it needs, if necessary after preempting sequences in the background.

        Preempts none if all of them would not be enough.
        """
        behind = [one for one in self.running if _is_behind(one, sequence)]
        if not self.caches.has_room(needs, spare=len(self.running) - len(behind), released=behind):
            return False
        while len(self.running) >= self.max_sequences or not self.caches.has_room(needs, spare=len(self.running)):
            self._preempt(self.running[-1])
        return True

    def _next(self) -> Sequence:
        """The next sequence to admit: by priority, then tenants with the fewest running sequences, then age.

        If it does not fit, no other is admitted before it: small requests cannot starve a large one.
        """
        num_running = Counter(sequence.request.tenant for sequence in self.running)
        return min(
            self.waiting,
            key=lambda sequence: (
                -sequence.request.priority,
                num_running[sequence.request.tenant],
                sequence.arrival,
            ),
        )

    def _running(self, *, is_background: bool) -> list[Sequence]:
        return [sequence for sequence in self.running if _is_background(sequence) is is_background]

    def _decode(self, most: int, *, is_background: bool) -> list[Span]:
        """A span for each sequence of which only the newest token is not computed, up to a number of them."""
        spans: list[Span] = []
        for sequence in self._running(is_background=is_background):
            if sequence.in_prompt or len(spans) >= most or not self._hold_blocks(sequence):
                continue
            if sequence.num_pending == 1:
                spans.append(Span(sequence, sequence.num_computed, 1, samples=True))
        return spans

    def _with_drafts(self, spans: list[Span]) -> list[Span]:
        """Add draft tokens while the step is narrow: there a few more cost little, in a wide step much."""
        most = self.max_draft_rows // len(spans) - 1 if spans else 0
        return [replace(span, drafts=self._drafts(span.sequence, most)) for span in spans] if most > 0 else spans

    def _drafts(self, sequence: Sequence, most: int) -> tuple[int, ...]:
        """Draft tokens after a sequence's newest token, as many as fit into its blocks and its limit."""
        if sequence.drafter is None:
            text = (*sequence.prompt, *sequence.output)
            sequence.drafter = PromptLookup(sequence.request.prediction, text, self._recent.of(sequence.owner))
        room = self.caches.draft_room(sequence, num_reserved=self.max_sequences - len(self.running))
        left = sequence.max_output - len(sequence.output) - 1
        drafts = sequence.drafter.propose(min(most, room, left))
        self.caches.hold_drafts(sequence, len(drafts))
        return drafts

    def _hold_blocks(self, sequence: Sequence) -> bool:
        """Allocate blocks for all known tokens; preempts sequences behind this one, or else this one.

        False if preempted. Sequences are scheduled by rank, so a preempted one is never part of the step already.
        """
        while blocks_for(sequence.num_tokens) > len(sequence.blocks):
            if self.caches.grow(sequence):
                continue
            last = self.running[-1]
            self._preempt(last)
            if last is sequence:
                return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.caches.release(sequence)
        sequence.counts_cached = False
        self.add(sequence)
        self.num_preemptions += 1

    def _catch_up(self, budget: int, *, is_background: bool) -> list[Span]:
        """Prompt chunks, and output tokens that were preempted or forced, by rank."""
        spans: list[Span] = []
        for sequence in self._running(is_background=is_background):
            if budget <= 0:
                break
            if sequence.in_prompt:
                self.caches.adopt(sequence)
                count = _chunk(self.caches.chunk_end(sequence), sequence.num_computed, budget)
                if not count or not self.caches.claim(sequence, count):
                    continue
            elif sequence.num_pending > 1:
                count = min(sequence.num_pending, budget)
            else:
                continue
            start = sequence.num_computed
            samples = start + count == sequence.num_tokens
            forks = self._fork(sequence) if samples and sequence.forks else ()
            if not sequence.has_begun:
                sequence.has_begun = True
                self.begun.append(sequence)
            spans.append(Span(sequence, start, count, samples, forks=forks))
            budget -= count
        return spans

    def _fork(self, sequence: Sequence) -> tuple[Sequence, ...]:
        """Start the other choices of a request at the end of its prompt, as many as slots and blocks allow.

        The remaining choices wait, and find the prompt's blocks in the prefix cache.
        """
        forked = []
        for fork in sequence.forks:
            fork.counts_cached = False
            if len(self.running) >= self.max_sequences or not self.caches.fork(sequence, fork):
                self.add(fork)
                continue
            fork.has_begun = True
            insort(self.running, fork, key=_rank)
            forked.append(fork)
        sequence.forks = []
        return tuple(forked)

    def _remove_fork(self, sequence: Sequence) -> None:
        """Remove a choice that waits for another to compute the prompt."""
        for holder in (*self.running, *self.waiting):
            if sequence in holder.forks:
                holder.forks.remove(sequence)
                return


def _chunk(length: int, computed: int, budget: int) -> int:
    """The size of a prompt's next chunk: neither it nor the remainder is a single token. 0 if none fits."""
    if length == 1:
        return 1
    left = length - computed
    count = min(left, budget)
    if left - count == 1:
        count -= 1
    return count if count > 1 else 0
