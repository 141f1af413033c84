"""Which full blocks of prompts can be used again: by their tokens, all before them, and whose they are.

Only blocks that prompt chunks wrote wholly are entered (docs/exactness.md), so a hit changes no text.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
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
        self._promised: dict[Key, object] = {}
        """Who will compute a block, among all that run or wait: the first that came."""
        pool.on_evict = self._forget

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, key: Key) -> int | None:
        """The block of a key. The caller shares it before it is given out again."""
        return self._blocks.get(key)

    def promise(self, keys: Sequence[Key], writer: object) -> tuple[int, int]:
        """How many of a prompt's first blocks need not be computed for it, and how many of these others hold.

        Such blocks are here, or promised: to be computed for somebody who came before. The others are promised from
        now on. For estimates, which are too short by what is given up before its turn; any thread may call it.
        """
        return self._known(keys, lambda key: self._promised.setdefault(key, writer) is not writer)

    def num_held(self, keys: Sequence[Key]) -> int:
        """How many of a prompt's first blocks others hold, or will; for estimates, and for any thread."""
        return self._known(keys, self._promised.__contains__)[1]

    def _known(self, keys: Sequence[Key], is_promised: Callable[[Key], bool]) -> tuple[int, int]:
        num_known = num_held = 0
        for place, key in enumerate(keys):
            block = self._blocks.get(key)
            if block is None and not is_promised(key):
                continue
            num_known += num_known == place
            num_held += num_held == place and (block is None or self._pool.is_held(block))
        return num_known, num_held

    def enter(self, key: Key, block: int) -> None:
        """Make a block that was just computed findable. One with the same content may be there already."""
        self._writers.pop(key, None)
        self._promised.pop(key, None)
        if key not in self._blocks:
            self._blocks[key] = block
            self._keys[block] = key
            self._pool.keep(block)

    def claim(self, key: Key, writer: object) -> bool:
        """Whether `writer` should compute a block itself: yes, unless another is already at it."""
        return self._writers.setdefault(key, writer) is writer

    def disclaim(self, keys: Sequence[Key], writer: object) -> None:
        """Forget that a sequence was going to compute blocks: it was preempted or ended."""
        for claims in (self._writers, self._promised):
            for key in keys:
                if claims.get(key) is writer:
                    del claims[key]

    def _forget(self, block: int) -> None:
        del self._blocks[self._keys.pop(block)]
