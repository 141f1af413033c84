"""Which models are unloaded to make room for another one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from crossette.pool.model import PooledModel


@dataclass(frozen=True)
class Room:
    """What has to happen before a model fits."""

    fits: bool = False
    unload: PooledModel | None = None
    wait_s: float | None = None
    """Seconds until another model may be unloaded; None if that depends on running requests."""


def room_for(model: PooledModel, others: Iterable[PooledModel], *, memory: int, now: float, min_idle_s: float) -> Room:
    """Whether `model` fits into `memory` bytes beside `others`, and otherwise the next thing to do.

    The least recently used model is unloaded first. A kept model, one that is in use and one that was used in the
    last `min_idle_s` seconds stay, and one that takes no memory here. A model that is larger than the memory is loaded
    once only kept models are.
    """
    holding = [other for other in others if other is not model and other.holds_memory]
    used = sum(other.memory for other in holding)
    removable = [other for other in holding if other.memory and not other.source.keep]
    if not model.memory or used + model.memory <= memory or not removable:
        return Room(fits=True)
    idle = sorted((other for other in removable if other.is_idle), key=lambda other: other.last_used)
    if not idle:
        return Room()
    age = now - idle[0].last_used
    return Room(unload=idle[0]) if age >= min_idle_s else Room(wait_s=min_idle_s - age)
