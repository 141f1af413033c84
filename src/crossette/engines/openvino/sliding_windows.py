"""Blocks of layers with sliding window attention: a sequence holds those of its window, and those of its next chunk.

Block numbers only. Every sequence counts all the blocks that it holds, also those that it shares, and never holds more
than it was given room for. So a sequence that slides on always finds blocks, and is never preempted for lack of them.
"""

from __future__ import annotations

from collections.abc import Sequence as Sequence_

from crossette.engines.openvino.kv_cache import BLOCK_SIZE, BlockPool, blocks_for
from crossette.engines.openvino.prefix_cache import Key, PrefixCache
from crossette.engines.openvino.sequence import Sequence


def most_held(window: int, chunk: int) -> int:
    """The most blocks that a sequence needs to compute a chunk of that many tokens, wherever its blocks begin."""
    return blocks_for(window + chunk) + 1


class WindowPool:
    """Allocates blocks that are released as soon as the window has passed them.

    Released blocks of prompts stay in a prefix cache of their own, until other sequences need the room.
    """

    def __init__(self, num_blocks: int, *, window: int, chunk: int) -> None:
        self.window = window
        """How many tokens a token attends to, itself included."""
        self.pool = BlockPool(num_blocks)
        self._prefixes = PrefixCache(self.pool)
        self._most_held = most_held(window, chunk)
        self._num_held = 0
        self._copies: list[tuple[int, int]] = []
        self._later_copies: list[tuple[int, int]] = []
        """Those of blocks that the next step writes."""

    @property
    def num_free(self) -> int:
        """Room for further blocks, if none were shared."""
        return self.pool.num_blocks - self._num_held

    def take_copies(self) -> tuple[tuple[int, int], ...]:
        """The copies (from, to) of blocks that the next step begins with."""
        copies, self._copies, self._later_copies = self._copies, self._later_copies, []
        return tuple(copies)

    def num_usable(self, keys: Sequence_[Key]) -> int:
        """After how many blocks, of those that `keys` name from the first on, a prompt can be continued.

        The window before that point must be cached.
        """
        count = len(keys)
        while count:
            window = range(count - 1, self._first(count * BLOCK_SIZE) - 1, -1)
            missing = next((index for index in window if self._prefixes.find(keys[index]) is None), None)
            if missing is None:
                return count
            count = missing
        return 0

    def num_needed(self, num_tokens: int, num_cached: int) -> int:
        """How many blocks a sequence must hold that continues after `num_cached` blocks of its known tokens."""
        return min(blocks_for(num_tokens) - self._first(num_cached * BLOCK_SIZE), self._most_held)

    def begin(self, sequence: Sequence, num_cached: int) -> None:
        """Give a sequence what it needs to continue after `num_cached` blocks; the caller has checked `num_free`."""
        first = self._first(num_cached * BLOCK_SIZE)
        needed = self.num_needed(sequence.num_tokens, num_cached)
        cached = [self._cached(key) for key in sequence.keys[first:num_cached]]
        self.pool.share(cached)
        self.release(sequence)
        sequence.window_start = first
        self._hold(sequence, cached)
        self._hold(sequence, self.pool.allocate(needed - len(cached)))

    def grow(self, sequence: Sequence) -> None:
        """Give a sequence one more block; the caller has checked `num_free`."""
        self._hold(sequence, self.pool.allocate(1))

    def note_computed(self, sequence: Sequence, before: int) -> None:
        """Insert the prompt blocks that are full since `before` tokens were computed into the prefix cache."""
        for index in range(before // BLOCK_SIZE, sequence.num_computed // BLOCK_SIZE):
            self._prefixes.insert(sequence.keys[index], sequence.window_blocks[index - sequence.window_start])

    def slide(self, sequence: Sequence) -> None:
        """Release the blocks that the window has passed, and take as many for tokens that are not computed yet."""
        passed = self._first(sequence.num_computed) - sequence.window_start
        if passed <= 0:
            return
        released = sequence.window_blocks[:passed]
        del sequence.window_blocks[:passed]
        sequence.window_start += passed
        self._num_held -= passed
        self.pool.release(released)
        missing = blocks_for(sequence.num_tokens) - sequence.window_start - len(sequence.window_blocks)
        if missing > 0:
            self._hold(sequence, self.pool.allocate(min(passed, missing)))

    def can_fork(self, sequence: Sequence) -> bool:
        return self.num_free > len(sequence.window_blocks)

    def fork(self, sequence: Sequence, fork: Sequence) -> None:
        """Let another choice share the full blocks of a prompt, with a copy of the partial one after the next step."""
        num_full, rest = divmod(len(sequence.prompt), BLOCK_SIZE)
        fork.window_start = sequence.window_start
        shared = sequence.window_blocks[: num_full - sequence.window_start]
        self.pool.share(shared)
        self._hold(fork, shared)
        if rest:
            self._hold(fork, self.pool.allocate(1))
            self._later_copies.append((sequence.window_blocks[len(shared)], fork.window_blocks[-1]))

    def release(self, sequence: Sequence) -> None:
        """Release all blocks of a sequence."""
        self._num_held -= len(sequence.window_blocks)
        self.pool.release(sequence.window_blocks)
        sequence.window_start = 0

    def _first(self, num_computed: int) -> int:
        """The first block that the token after `num_computed` others attends to."""
        return max(0, num_computed - self.window + 1) // BLOCK_SIZE

    def _cached(self, key: Key) -> int:
        block = self._prefixes.find(key)
        if block is None:
            raise RuntimeError("A block of a window is no longer cached")
        return block

    def _hold(self, sequence: Sequence, blocks: list[int]) -> None:
        sequence.window_blocks += blocks
        self._num_held += len(blocks)
