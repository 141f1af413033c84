"""What sequences hold of the caches: allocated, found in the prefix cache, shared, forked and released."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from crossette.engines.openvino.kv_cache import BLOCK_SIZE, BlockPool, blocks_for
from crossette.engines.openvino.prefix_cache import Key, PrefixCache
from crossette.engines.openvino.sequence import Batch, Sequence, Span
from crossette.engines.openvino.sliding_windows import WindowPool
from crossette.engines.openvino.states import StatePool


class Needs(NamedTuple):
    """Blocks that a sequence must be given."""

    blocks: int
    window_blocks: int = 0
    """Of layers with sliding window attention."""


class CacheManager:
    """Gives blocks and rows of states to sequences and takes them back, for a scheduler that decides when."""

    def __init__(
        self,
        pool: BlockPool,
        windows: WindowPool | None = None,
        states: StatePool | None = None,
        *,
        keeps_output: bool = False,
    ) -> None:
        self.pool = pool
        self._keeps_output = keeps_output and windows is None and states is None
        """Whether output tokens are computed as prompts are, to the last bit, so that their blocks may be reused."""
        self.windows = windows
        """For layers with sliding window attention."""
        self.states = states
        """For recurrent layers. It has a row for each sequence that may run, at least."""
        self.prefixes = PrefixCache(pool)
        self.num_looked_up = self.num_hits = 0
        """Prompt tokens looked up in the prefix cache, and those found there."""
        self._copies: list[tuple[int, int]] = []
        self._later_copies: list[tuple[int, int]] = []
        """Those of blocks that the next step writes."""

    def announce(self, sequence: Sequence) -> None:
        """Estimate what remains to compute of a sequence's prompt, and promise those blocks to later sequences."""
        num_known, num_shared = self.prefixes.promise(sequence.keys, sequence)
        if self.states is not None:
            num_known = self.states.num_usable(sequence.keys[:num_known])
        sequence.num_known = min(num_known, sequence.num_reusable)
        sequence.num_shared = min(num_shared, sequence.num_reusable)
        for fork in sequence.forks:
            fork.num_known = fork.num_shared = len(fork.prompt) // BLOCK_SIZE

    def step(self, spans: list[Span]) -> Batch:
        """A step that computes these spans, with the copies that it begins with."""
        copies, self._copies, self._later_copies = self._copies, self._later_copies, []
        window_copies = () if self.windows is None else self.windows.take_copies()
        row_copies = () if self.states is None else self.states.take_copies()
        return Batch(tuple(spans), tuple(copies), window_copies, row_copies)

    def has_room(self, needs: Needs, *, spare: int, released: Iterable[Sequence] = ()) -> bool:
        """Whether these blocks are free, and `spare` further ones, once some sequences have released all of theirs."""
        released = list(released)
        free = self.pool.num_free + self.pool.num_held_by(one.blocks for one in released)
        if free < needs.blocks + spare:
            return False
        if self.windows is None:
            return True
        free = self.windows.num_free + sum(len(one.window_blocks) for one in released)
        return free >= needs.window_blocks + spare

    def admit(self, sequence: Sequence, has_room: Callable[[Needs], bool]) -> bool:
        """Give a sequence blocks for all its known tokens, cached ones first.

        False if `has_room` says that the blocks that are not cached must not be allocated.
        """
        matched = self._matched(sequence, 0)
        cached = self._usable(sequence, 0, matched)
        self.pool.share(cached)
        needed = blocks_for(sequence.num_tokens) - len(cached)
        windows = 0 if self.windows is None else self.windows.num_needed(sequence.num_tokens, len(cached))
        if not has_room(Needs(needed, windows)):
            self.pool.release(cached)
            return False
        self._note_cached(sequence, len(cached))
        if self.windows is not None:
            self.windows.begin(sequence, len(cached))
        sequence.blocks = cached + self.pool.allocate(needed)
        if self.states is not None:
            self.states.begin(sequence, len(cached), len(matched))
        return True

    def grow(self, sequence: Sequence) -> bool:
        """Give a sequence one more block; false if none is free."""
        if not self.pool.num_free or (self.windows is not None and not self.windows.num_free):
            return False
        sequence.blocks += self.pool.allocate(1)
        if self.windows is not None:
            self.windows.grow(sequence)
        return True

    def adopt(self, sequence: Sequence) -> None:
        """Share blocks that another sequence has computed since this one was admitted."""
        if sequence.num_computed % BLOCK_SIZE:
            return
        first = sequence.num_computed // BLOCK_SIZE
        found = self._usable(sequence, first, self._matched(sequence, first))
        if not found:
            return
        self.pool.share(found)
        replaced = sequence.blocks[first : first + len(found)]
        sequence.blocks[first : first + len(found)] = found
        self.pool.release(replaced)
        if self.windows is not None:
            self.windows.begin(sequence, first + len(found))
        if self.states is not None:
            self.states.restore(sequence, first + len(found))
        sequence.num_computed += len(found) * BLOCK_SIZE
        if sequence.counts_cached:
            sequence.num_cached += len(found) * BLOCK_SIZE
            self.num_hits += len(found) * BLOCK_SIZE

    def claim(self, sequence: Sequence, count: int) -> bool:
        """Whether a sequence should compute its next chunk now; false while another computes the same blocks."""
        if self.states is not None:
            return self.states.claim(sequence)
        first = sequence.num_computed // BLOCK_SIZE
        last = min((sequence.num_computed + count - 1) // BLOCK_SIZE + 1, sequence.num_reusable)
        claimed = [self.prefixes.claim(key, sequence) for key in sequence.keys[first:last]]
        return not claimed or claimed[0]

    def note_computed(self, span: Span) -> None:
        """Mark a span's tokens as computed; insert prompt blocks that are full now into the prefix cache."""
        sequence = span.sequence
        before, sequence.num_computed = sequence.num_computed, span.start + span.count
        if span.is_prompt:
            for index in range(before // BLOCK_SIZE, sequence.num_computed // BLOCK_SIZE):
                self.prefixes.insert(sequence.keys[index], sequence.blocks[index])
            if self.windows is not None:
                self.windows.note_computed(sequence, before)
            if self.states is not None:
                self.states.note_computed(sequence)
        else:
            self._keep_output(sequence, before)
        for fork in span.forks:
            fork.num_computed = sequence.num_computed
        if self.windows is not None:
            for one in (sequence, *span.forks):
                self.windows.slide(one)

    def fork(self, sequence: Sequence, fork: Sequence) -> bool:
        """Let another choice continue from the end of a prompt; false if there is no free block.

        It shares the prompt's full blocks and gets a copy of the partial one.
        """
        if not self.pool.num_free or (self.windows is not None and not self.windows.can_fork(sequence)):
            return False
        num_full, rest = divmod(len(sequence.prompt), BLOCK_SIZE)
        shared = sequence.blocks[:num_full]
        self.pool.share(shared)
        fork.blocks = shared + (self.pool.allocate(1) if rest else [])
        if rest:
            self._later_copies.append((sequence.blocks[num_full], fork.blocks[num_full]))
        if self.windows is not None:
            self.windows.fork(sequence, fork)
        if self.states is not None:
            self.states.fork(sequence, fork)
        fork.num_shared = num_full
        return True

    def release(self, sequence: Sequence) -> None:
        """Release a sequence's blocks, and its claims on blocks that it was going to compute."""
        self.prefixes.disclaim(sequence.keys, sequence)
        self.pool.release(sequence.blocks)
        if self.windows is not None:
            self.windows.release(sequence)
        if self.states is not None:
            self.states.release(sequence)
        sequence.num_computed = 0
        sequence.scores.clear()

    def chunk_end(self, sequence: Sequence) -> int:
        """The position that the next chunk of a prompt must not pass: where a snapshot is taken, else its end."""
        return sequence.snapshots[0] * BLOCK_SIZE if sequence.snapshots else len(sequence.prompt)

    def draft_room(self, sequence: Sequence, num_reserved: int) -> int:
        """How many draft tokens of a sequence a step can verify, if `num_reserved` rows of states stay free."""
        room = len(sequence.blocks) * BLOCK_SIZE - sequence.num_tokens
        return room if self.states is None else min(room, self.states.num_free - num_reserved)

    def hold_drafts(self, sequence: Sequence, count: int) -> None:
        """Give a sequence what it needs for draft tokens, within `draft_room`."""
        if self.states is not None:
            self.states.draft(sequence, count)

    def accept_drafts(self, sequence: Sequence, num_accepted: int) -> None:
        """Mark accepted draft tokens as computed; take back what the others needed."""
        before = sequence.num_computed
        sequence.num_computed += num_accepted
        self._keep_output(sequence, before)
        if self.states is not None:
            self.states.accept(sequence, num_accepted)

    def _keep_output(self, sequence: Sequence, before: int) -> None:
        """Insert blocks that output tokens have filled, since `before` tokens were computed, into the prefix cache."""
        if self._keeps_output:
            for index in range(before // BLOCK_SIZE, sequence.num_computed // BLOCK_SIZE):
                self.prefixes.insert(sequence.block_key(index), sequence.blocks[index])

    def _matched(self, sequence: Sequence, first: int) -> list[int]:
        """The cached blocks of a sequence's prompt from the block `first` on."""
        blocks = []
        for key in sequence.keys[first : sequence.num_reusable]:
            block = self.prefixes.find(key)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def _usable(self, sequence: Sequence, first: int, matched: list[int]) -> list[int]:
        """The first of these blocks after which the prompt can be continued."""
        count = first + len(matched)
        while count > first and (usable := self._num_usable(sequence.keys[:count])) < count:
            count = usable
        return matched[: max(0, count - first)]

    def _num_usable(self, keys: tuple[Key, ...]) -> int:
        count = len(keys) if self.windows is None else self.windows.num_usable(keys)
        return count if self.states is None else self.states.num_usable(keys[:count])

    def _note_cached(self, sequence: Sequence, num_blocks: int) -> None:
        """Mark the tokens of the first blocks as computed, and count them as cache hits."""
        sequence.num_computed += num_blocks * BLOCK_SIZE
        if sequence.counts_cached:
            sequence.num_cached = sequence.num_computed
            self.num_hits += sequence.num_cached
            if not sequence.request.prompt_logprobs:
                self.num_looked_up += len(sequence.prompt)


def fits(pool: BlockPool, prompt_tokens: int, num_choices: int) -> bool:
    """Whether a request can ever be served: its prompt, and a block for each choice."""
    return blocks_for(prompt_tokens) + num_choices <= pool.num_blocks
