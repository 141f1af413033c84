"""How many KV blocks and rows of states a model gets."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.engines.openvino.kv_cache import BLOCK_SIZE, blocks_for
from crossette.engines.openvino.settings import DEFAULT_KV_CACHE, OpenVINOSettings
from crossette.engines.openvino.sliding_windows import most_held
from crossette.errors import ConfigError
from crossette.machine import format_memory, free_memory, parse_memory

MIN_BLOCKS = 4
_MIN_ROWS = 2


@dataclass(frozen=True, slots=True)
class CacheUnits:
    """What a model's caches consist of: bytes of a block of the layers that attend to all tokens, and so on."""

    block: int
    window_block: int = 0
    """Bytes of a block of the layers with sliding window attention; 0 without any."""
    sliding_window: int = 0
    """Their window in tokens."""
    row: int = 0
    """Bytes of a row for the states of recurrent layers; 0 without any."""


@dataclass(frozen=True, slots=True)
class CacheSizes:
    """Numbers of KV blocks, and of rows for the states of recurrent layers; 0 of those that a model does not have."""

    blocks: int
    window_blocks: int = 0
    rows: int = 0

    def num_bytes(self, units: CacheUnits) -> int:
        return self.blocks * units.block + self.window_blocks * units.window_block + self.rows * units.row

    def longest_text(self, units: CacheUnits, max_step_tokens: int) -> int:
        """The most tokens of a sequence. Its blocks are one less than there are, so that its output finds a block."""
        blocks = self.blocks
        if self.window_blocks and self.window_blocks <= most_held(units.sliding_window, max_step_tokens):
            blocks = min(blocks, self.window_blocks)
        return (blocks - 1) * BLOCK_SIZE


def cache_sizes(units: CacheUnits, window: int, settings: OpenVINOSettings) -> CacheSizes:
    """What the setting allows, and at most what a full batch of full windows needs, with a snapshot for each sequence.

    States get half of the memory at most. Raises ConfigError if the rest is less than the model needs.
    """
    free = free_memory()
    requested = settings.kv_cache or DEFAULT_KV_CACHE
    budget = parse_memory(requested, free)
    rows = max(_MIN_ROWS, min(2 * settings.max_sequences, budget // 2 // units.row)) if units.row else 0
    blocks, window_blocks = _blocks(units, max(0, budget - rows * units.row), window, settings)
    if budget > free or blocks < MIN_BLOCKS or (units.window_block and window_blocks < MIN_BLOCKS):
        least = CacheSizes(MIN_BLOCKS, MIN_BLOCKS, _MIN_ROWS).num_bytes(units)
        raise ConfigError(
            f"--kv-cache {requested} is {format_memory(budget)}. This model needs at least "
            f"{format_memory(least)}, and {format_memory(free)} are free."
        )
    return CacheSizes(blocks, window_blocks, rows)


def _blocks(units: CacheUnits, budget: int, window: int, settings: OpenVINOSettings) -> tuple[int, int]:
    """Numbers of blocks of both kinds of attention layers.

    As many of the one kind as of the other, so that short texts find as much room as without sliding windows; but of
    those with windows no more than a full batch holds, and fewer if a text of the whole window would not fit otherwise.
    """
    one_text = blocks_for(window) + 1
    most = settings.max_sequences * one_text
    if not units.window_block:
        return min(budget // units.block, most), 0
    one_window = most_held(units.sliding_window, settings.max_step_tokens) + 1
    window_blocks = min(budget // (units.block + units.window_block), settings.max_sequences * one_window)
    left_by_one_text = (budget - one_text * units.block) // units.window_block
    if left_by_one_text < window_blocks:
        window_blocks = max(left_by_one_text, min(one_window, window_blocks))
    blocks = (budget - window_blocks * units.window_block) // units.block if units.block else most
    return min(blocks, most), window_blocks
