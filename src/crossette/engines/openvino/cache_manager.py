"""What sequences hold of the caches: allocated, found in the prefix cache, shared, forked and released."""

from __future__ import annotations

from collections.abc import Callable

from crossette.engines.openvino.kv_cache import BLOCK_SIZE, BlockPool, blocks_for
from crossette.engines.openvino.prefix_cache import PrefixCache
from crossette.engines.openvino.sequence import Sequence, Span


class CacheManager:
    """Gives blocks to sequences and takes them back, for a scheduler that decides when."""

    def __init__(self, pool: BlockPool) -> None:
        self.pool = pool
        self.prefixes = PrefixCache(pool)
        self.num_looked_up = self.num_hits = 0
        """Prompt tokens looked up in the prefix cache, and those found there."""
        self._copies: list[tuple[int, int]] = []

    def announce(self, sequence: Sequence) -> None:
        """Estimate what remains to compute of a sequence's prompt, and promise those blocks to later sequences."""
        num_known, num_shared = self.prefixes.promise(sequence.keys, sequence)
        sequence.num_known = min(num_known, sequence.num_reusable)
        sequence.num_shared = min(num_shared, sequence.num_reusable)
        for fork in sequence.forks:
            fork.num_known = fork.num_shared = len(fork.prompt) // BLOCK_SIZE

    def take_copies(self) -> tuple[tuple[int, int], ...]:
        """The copies (from, to) of blocks that the next step begins with."""
        copies, self._copies = self._copies, []
        return tuple(copies)

    def admit(self, sequence: Sequence, has_room: Callable[[int], bool]) -> bool:
        """Give a sequence blocks for all its known tokens, cached ones first.

        False if `has_room` says that the number of blocks that are not cached must not be allocated.
        """
        cached = self._cached(sequence, 0)
        self.pool.share(cached)
        needed = blocks_for(sequence.num_tokens) - len(cached)
        if not has_room(needed):
            self.pool.release(cached)
            return False
        self._note_cached(sequence, len(cached))
        sequence.blocks = cached + self.pool.allocate(needed)
        return True

    def grow(self, sequence: Sequence) -> bool:
        """Give a sequence one more block; false if none is free."""
        if not self.pool.num_free:
            return False
        sequence.blocks += self.pool.allocate(1)
        return True

    def adopt(self, sequence: Sequence) -> None:
        """Share blocks that another sequence has computed since this one was admitted."""
        if sequence.num_computed % BLOCK_SIZE:
            return
        first = sequence.num_computed // BLOCK_SIZE
        found = self._cached(sequence, first)
        self.pool.share(found)
        replaced = sequence.blocks[first : first + len(found)]
        sequence.blocks[first : first + len(found)] = found
        self.pool.release(replaced)
        sequence.num_computed += len(found) * BLOCK_SIZE
        if sequence.counts_cached:
            sequence.num_cached += len(found) * BLOCK_SIZE
            self.num_hits += len(found) * BLOCK_SIZE

    def claim(self, sequence: Sequence, count: int) -> bool:
        """Whether a sequence should compute its next chunk now; false while another computes the same blocks."""
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
        for fork in span.forks:
            fork.num_computed = sequence.num_computed

    def fork(self, sequence: Sequence, fork: Sequence) -> bool:
        """Let another choice continue from the end of a prompt; false if there is no free block.

        It shares the prompt's full blocks and gets a copy of the partial one.
        """
        if not self.pool.num_free:
            return False
        num_full, rest = divmod(len(sequence.prompt), BLOCK_SIZE)
        shared = sequence.blocks[:num_full]
        self.pool.share(shared)
        fork.blocks = shared + (self.pool.allocate(1) if rest else [])
        if rest:
            self._copies.append((sequence.blocks[num_full], fork.blocks[num_full]))
        fork.num_shared = num_full
        return True

    def release(self, sequence: Sequence) -> None:
        """Release a sequence's blocks, and its claims on blocks that it was going to compute."""
        self.prefixes.disclaim(sequence.keys, sequence)
        self.pool.release(sequence.blocks)
        sequence.num_computed = 0
        sequence.scores.clear()

    def _cached(self, sequence: Sequence, first: int) -> list[int]:
        """The cached blocks of a sequence's prompt from the block `first` on."""
        blocks = []
        for key in sequence.keys[first : sequence.num_reusable]:
            block = self.prefixes.find(key)
            if block is None:
                break
            blocks.append(block)
        return blocks

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
