"""Who owns which block of the KV cache. Numbers only: the bytes live in the runner."""

from __future__ import annotations

BLOCK_SIZE = 32
"""Tokens a block holds: fixed by OpenVINO's paged attention on CPU."""


def blocks_for(num_tokens: int) -> int:
    """How many blocks hold `num_tokens` tokens."""
    return -(-num_tokens // BLOCK_SIZE)


class BlockPool:
    """Hands out block numbers and takes them back. Every block is free or has one owner."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))

    @property
    def num_free(self) -> int:
        return len(self._free)

    def allocate(self, count: int) -> list[int]:
        """Take `count` blocks; the caller has seen that `num_free` suffices."""
        if count > len(self._free):
            raise RuntimeError(f"{count} blocks asked of a pool that has {len(self._free)} free")
        taken = self._free[len(self._free) - count :]
        del self._free[len(self._free) - count :]
        return taken

    def release(self, blocks: list[int]) -> None:
        """Give blocks back and empty the list, so that its owner cannot use them any more."""
        self._free.extend(blocks)
        blocks.clear()
