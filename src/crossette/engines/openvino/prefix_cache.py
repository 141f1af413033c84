"""Which full blocks of prompts can be used again: by their tokens, all before them, and whose they are.

Only blocks that prompt chunks wrote wholly are entered (docs/exactness.md), so a hit changes no text.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b

from crossette.engines.openvino.kv_cache import BLOCK_SIZE, BlockPool

Key = bytes


def block_keys(tokens: Sequence[int], tenant: str, isolation_key: str) -> tuple[Key, ...]:
    """A key for each full block of a prompt. They chain: equal keys mean equal tokens from the beginning on.

    They also mean the same tenant and isolation key: nobody can tell from a hit what another has asked.
    """
    parent = blake2b(repr((tenant, isolation_key)).encode(), digest_size=16).digest()
    keys = []
    for start in range(0, len(tokens) - BLOCK_SIZE + 1, BLOCK_SIZE):
        block = array("q", tokens[start : start + BLOCK_SIZE]).tobytes()
        parent = blake2b(parent + block, digest_size=16).digest()
        keys.append(parent)
    return tuple(keys)


def num_reusable(prompt_length: int) -> int:
    """How many blocks a prompt may take from the cache: two tokens at least are always computed.

    The logits after the last token are wanted, and a prompt is never computed by a single token.
    """
    return max(0, prompt_length - 2) // BLOCK_SIZE


class PrefixCache:
    """Blocks by key, and which sequence is computing a block that is not there yet."""

    def __init__(self, pool: BlockPool) -> None:
        self._pool = pool
        self._blocks: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}
        self._writers: dict[Key, object] = {}
        pool.on_evict = self._forget

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, key: Key) -> int | None:
        """The block of a key. The caller shares it before it is given out again."""
        return self._blocks.get(key)

    def enter(self, key: Key, block: int) -> None:
        """Make a block that was just computed findable. One with the same content may be there already."""
        self._writers.pop(key, None)
        if key not in self._blocks:
            self._blocks[key] = block
            self._keys[block] = key
            self._pool.keep(block)

    def claim(self, key: Key, writer: object) -> bool:
        """Whether `writer` should compute a block itself: yes, unless another is already at it."""
        return self._writers.setdefault(key, writer) is writer

    def disclaim(self, writer: object) -> None:
        """Forget what a sequence was going to compute: it was preempted or ended."""
        for key in [key for key, claimed in self._writers.items() if claimed is writer]:
            del self._writers[key]

    def _forget(self, block: int) -> None:
        del self._blocks[self._keys.pop(block)]
