"""Which models of the catalogue fit the memory of a machine."""

from __future__ import annotations

from collections.abc import Iterable

from crossette.errors import ModelError
from crossette.machine import format_memory, total_memory
from crossette.models.catalogue import CATALOGUE
from crossette.models.catalogue_entry import CatalogueEntry

BEST = "best"
"""The reference of the largest model that fits."""
TOKENS = 8192
"""Tokens in the KV cache for which there must be room."""
SHARE = 0.5
"""Of the machine's memory: the rest is for the system, other programs, and a KV cache of 30 %."""

_CACHE_BYTES = 1.125
"""Of a number in the KV cache: 8 bits, and a scale and a zero point of 32 bits for every 64 numbers."""
_PROGRAM = 400 << 20
"""Bytes of a server beside weights and KV cache; 356 MiB were measured with the default model."""


def memory_of(entry: CatalogueEntry) -> int:
    """The bytes that a server with this model needs, with 8,192 tokens in its KV cache. An estimate."""
    return int(entry.size * entry.growth + entry.cache_values * _CACHE_BYTES * TOKENS) + _PROGRAM


def fitting(total: int) -> list[CatalogueEntry]:
    """The models that generate and fit a machine with `total` bytes of memory, the largest first."""
    entries = [entry for entry in CATALOGUE.values() if entry.kind == "generation"]
    fits = (entry for entry in entries if memory_of(entry) <= SHARE * total)
    return sorted(fits, key=lambda entry: entry.size, reverse=True)


def best_of(entries: Iterable[CatalogueEntry]) -> CatalogueEntry | None:
    """The first of them for any chat, under a licence of open source: others are for a person to accept."""
    return next((entry for entry in entries if entry.is_general and entry.terms is None), None)


def best_here() -> CatalogueEntry:
    """The model of `best` on this machine. Raises ModelError if none fits."""
    total = total_memory()
    if (entry := best_of(fitting(total))) is None:
        raise ModelError(
            f"No model of the catalogue fits half of this machine's {format_memory(total)} of memory."
            " Name one: `crossette pull` lists them."
        )
    return entry
