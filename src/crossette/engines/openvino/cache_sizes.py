"""How many KV blocks and rows of states a model gets."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.engines.openvino.kv_cache import blocks_for
from crossette.engines.openvino.settings import DEFAULT_KV_CACHE, OpenVINOSettings
from crossette.errors import ConfigError
from crossette.machine import format_memory, free_memory, parse_memory

MIN_BLOCKS = 4
_MIN_ROWS = 2


@dataclass(frozen=True, slots=True)
class CacheSizes:
    """Numbers of KV blocks, and of rows for the states of recurrent layers, 0 without any."""

    blocks: int
    rows: int


def cache_sizes(block_bytes: int, row_bytes: int, window: int, settings: OpenVINOSettings) -> CacheSizes:
    """What the setting allows, and at most what a full batch of full windows needs, with a snapshot for each sequence.

    States get half of the memory at most. Raises ConfigError if the rest is less than the model needs.
    """
    free = free_memory()
    requested = settings.kv_cache or DEFAULT_KV_CACHE
    budget = parse_memory(requested, free)
    rows = max(_MIN_ROWS, min(2 * settings.max_sequences, budget // 2 // row_bytes)) if row_bytes else 0
    left = max(0, budget - rows * row_bytes)
    blocks = min(left // block_bytes, settings.max_sequences * (blocks_for(window) + 1))
    if budget > free or blocks < MIN_BLOCKS:
        raise ConfigError(
            f"--kv-cache {requested} is {format_memory(budget)}. This model needs at least "
            f"{format_memory(MIN_BLOCKS * block_bytes + _MIN_ROWS * row_bytes)}, and {format_memory(free)} are free."
        )
    return CacheSizes(blocks, rows)
