"""Who owns which block of the KV cache. Numbers only: the bytes live in the runner."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

BLOCK_SIZE = 32
"""Tokens a block holds: fixed by OpenVINO's paged attention on CPU."""


def blocks_for(num_tokens: int) -> int:
    """How many blocks hold `num_tokens` tokens."""
    return -(-num_tokens // BLOCK_SIZE)


class BlockPool:
    """Hands out block numbers, counts who shares them, and takes them back.

    A block is empty, owned by one sequence or more, or kept: owned by nobody, but its content may be wanted again.
    Kept blocks count as free. They are given out again when no empty one is left, the least recently used first.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._owners = [0] * num_blocks
        self._empty = list(range(num_blocks - 1, -1, -1))
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._worth_keeping: set[int] = set()
        self.on_evict: Callable[[int], None] = lambda block: None
        """Called when a kept block is about to be given out for something else."""

    @property
    def num_free(self) -> int:
        return len(self._empty) + len(self._kept)

    def allocate(self, count: int) -> list[int]:
        """Take `count` blocks; the caller has seen that `num_free` suffices."""
        if count > self.num_free:
            raise RuntimeError(f"{count} blocks asked of a pool that has {self.num_free} free")
        return [self._take() for _ in range(count)]

    def share(self, blocks: Iterable[int]) -> None:
        """Add an owner to blocks that are owned or kept."""
        for block in blocks:
            if self._owners[block] == 0:
                del self._kept[block]
            self._owners[block] += 1

    def release(self, blocks: list[int]) -> None:
        """Give an owner's blocks back and empty the list, so that the owner cannot use them any more.

        The last blocks of a text go first when memory is short: earlier ones are worth more, as shared beginnings.
        """
        while blocks:
            block = blocks.pop()
            self._owners[block] -= 1
            if self._owners[block] == 0:
                if block in self._worth_keeping:
                    self._kept[block] = None
                else:
                    self._empty.append(block)

    def keep(self, block: int) -> None:
        """Keep the block's content after its last owner has given it back."""
        self._worth_keeping.add(block)

    def is_held(self, block: int) -> bool:
        """Whether somebody owns the block. May be asked from another thread."""
        return self._owners[block] > 0

    def _take(self) -> int:
        if self._empty:
            block = self._empty.pop()
        else:
            block, _ = self._kept.popitem(last=False)
            self._worth_keeping.discard(block)
            self.on_evict(block)
        self._owners[block] = 1
        return block
