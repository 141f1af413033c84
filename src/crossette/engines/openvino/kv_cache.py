"""Allocation and reference counts of KV cache blocks. Block numbers only: the runner holds the memory."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable

BLOCK_SIZE = 32
"""Tokens a block holds: fixed by OpenVINO's paged attention on CPU."""


def blocks_for(num_tokens: int) -> int:
    """How many blocks hold `num_tokens` tokens."""
    return -(-num_tokens // BLOCK_SIZE)


class BlockPool:
    """Allocates block numbers and counts their owners.

    A block is empty, owned by one sequence or more, or cached: without owner, but its content may be used again.
    Cached blocks count as free. They are reused when no empty block is left, the least recently used first.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._owners = [0] * num_blocks
        self._empty = list(range(num_blocks - 1, -1, -1))
        self._cached: OrderedDict[int, None] = OrderedDict()
        self._worth_keeping: set[int] = set()
        self.on_evict: Callable[[int], None] = lambda block: None
        """Called when a cached block is about to be reused."""

    @property
    def num_free(self) -> int:
        return len(self._empty) + len(self._cached)

    def allocate(self, count: int) -> list[int]:
        """Allocate `count` blocks; the caller has checked `num_free`."""
        if count > self.num_free:
            raise RuntimeError(f"{count} blocks requested from a pool with {self.num_free} free")
        return [self._take() for _ in range(count)]

    def share(self, blocks: Iterable[int]) -> None:
        """Add an owner to blocks that are owned or cached."""
        for block in blocks:
            if self._owners[block] == 0:
                del self._cached[block]
            self._owners[block] += 1

    def release(self, blocks: list[int]) -> None:
        """Release an owner's blocks and empty the list, so that the owner cannot use them any more.

        The last blocks of a sequence become the least recently used: earlier ones are more likely to be shared.
        """
        while blocks:
            block = blocks.pop()
            self._owners[block] -= 1
            if self._owners[block] == 0:
                if block in self._worth_keeping:
                    self._cached[block] = None
                else:
                    self._empty.append(block)

    def keep(self, block: int) -> None:
        """Keep the block cached after its last owner releases it."""
        self._worth_keeping.add(block)

    def is_held(self, block: int) -> bool:
        """Whether the block has an owner. May be called from another thread."""
        return self._owners[block] > 0

    def num_held_by(self, owners: Iterable[Iterable[int]]) -> int:
        """How many blocks are free once these owners, each with its blocks, release all of theirs."""
        held = Counter(block for blocks in owners for block in blocks)
        return sum(self._owners[block] == count for block, count in held.items())

    def _take(self) -> int:
        if self._empty:
            block = self._empty.pop()
        else:
            block, _ = self._cached.popitem(last=False)
            self._worth_keeping.discard(block)
            self.on_evict(block)
        self._owners[block] = 1
        return block
