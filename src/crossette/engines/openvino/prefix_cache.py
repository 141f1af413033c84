"""The prefix cache: full KV blocks of texts, keyed by their tokens, all tokens before them, and their owner.

A hit never changes the output: blocks with output tokens are inserted only where these are computed as prompts are, to
the last bit (docs/exactness.md).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b

from crossette.engines.openvino.kv_cache import BLOCK_SIZE, BlockPool
from crossette.types import GenerationRequest, PlacedImage

Key = bytes


def block_keys(
    tokens: Sequence[int],
    tenant: str,
    isolation_key: str,
    images: Sequence[PlacedImage] = (),
    adapter: str | None = None,
) -> tuple[Key, ...]:
    """A key for each full block of a prompt. Keys are chained: equal keys mean equal tokens from the beginning.

    They also mean the same images at the same places, although all images have the same tokens; the same adapter, which
    changes keys and values; and the same tenant and isolation key: a hit reveals nothing about the prompts of other
    tenants.
    """
    key = _root(tenant, isolation_key, adapter)
    keys = []
    for start in range(0, len(tokens) - BLOCK_SIZE + 1, BLOCK_SIZE):
        key = _next(key, tokens[start : start + BLOCK_SIZE], start, images)
        keys.append(key)
    return tuple(keys)


def _root(tenant: str, isolation_key: str, adapter: str | None) -> Key:
    return blake2b(repr((tenant, isolation_key, adapter)).encode(), digest_size=16).digest()


def _next(key: Key, tokens: Sequence[int], start: int, images: Sequence[PlacedImage]) -> Key:
    """The key of the block whose tokens begin at `start`, after that of the block before it."""
    block = array("q", tokens).tobytes()
    for placed in images:
        if placed.start < start + BLOCK_SIZE and placed.end > start:
            block += blake2b(repr((placed.start - start, placed.image.digest)).encode(), digest_size=16).digest()
    return blake2b(key + block, digest_size=16).digest()


def request_keys(request: GenerationRequest) -> tuple[Key, ...]:
    """The keys of a request's prompt."""
    return block_keys(request.prompt, request.tenant, request.isolation_key, request.images, request.adapter)


def output_key(request: GenerationRequest, before: Sequence[Key], start: int, tokens: Sequence[int]) -> Key:
    """The key of the block of a request's prompt and output that begins at `start`, after blocks with keys `before`."""
    key = before[-1] if before else _root(request.tenant, request.isolation_key, request.adapter)
    return _next(key, tokens, start, request.images)


def num_reusable(prompt_length: int) -> int:
    """How many blocks a prompt may take from the cache: at least two tokens are always computed.

    The logits of the last token are needed, and a chunk of a prompt is never a single token.
    """
    return max(0, prompt_length - 2) // BLOCK_SIZE


class PrefixCache:
    """Cached blocks by key, and the sequences that are computing blocks not cached yet."""

    def __init__(self, pool: BlockPool) -> None:
        self._pool = pool
        self._blocks: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}
        self._writers: dict[Key, object] = {}
        self._promised: dict[Key, object] = {}
        """The sequence that will compute a block: the first that arrived of all that run or wait."""
        pool.on_evict = self._forget

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, key: Key) -> int | None:
        """The block of a key. The caller must share it before the pool can reuse it."""
        return self._blocks.get(key)

    def promise(self, keys: Sequence[Key], writer: object) -> tuple[int, int]:
        """How many of a prompt's first blocks need not be computed for it, and how many other sequences hold.

        These are cached, or promised by an earlier sequence. `writer` promises the remaining ones. For estimates only:
        blocks evicted in the meantime must be computed after all. Any thread may call it.
        """
        return self._known(keys, lambda key: self._promised.setdefault(key, writer) is not writer)

    def num_held(self, keys: Sequence[Key]) -> int:
        """How many of a prompt's first blocks other sequences hold or will hold; an estimate, from any thread."""
        return self._known(keys, self._promised.__contains__)[1]

    def _known(self, keys: Sequence[Key], is_promised: Callable[[Key], bool]) -> tuple[int, int]:
        num_known = num_held = 0
        for index, key in enumerate(keys):
            block = self._blocks.get(key)
            if block is None and not is_promised(key):
                continue
            num_known += num_known == index
            num_held += num_held == index and (block is None or self._pool.is_held(block))
        return num_known, num_held

    def insert(self, key: Key, block: int) -> None:
        """Add a block that was just computed, unless one with the same content is cached already."""
        self._writers.pop(key, None)
        self._promised.pop(key, None)
        if key not in self._blocks:
            self._blocks[key] = block
            self._keys[block] = key
            self._pool.keep(block)

    def claim(self, key: Key, writer: object) -> bool:
        """Whether `writer` should compute a block: true unless another sequence is computing it."""
        return self._writers.setdefault(key, writer) is writer

    def disclaim(self, keys: Sequence[Key], writer: object) -> None:
        """Drop a sequence's claims on blocks that it was going to compute: it was preempted or ended."""
        for claims in (self._writers, self._promised):
            for key in keys:
                if claims.get(key) is writer:
                    del claims[key]

    def _forget(self, block: int) -> None:
        del self._blocks[self._keys.pop(block)]
