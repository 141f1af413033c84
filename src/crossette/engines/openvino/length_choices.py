"""Choices by length in a graph, made once for the served window instead of in each step for all of its sequences.

Models with longrope have two sets of rotary factors: one for texts up to their original context length, one for longer
texts. An exported graph chooses by the longest sequence of the step, so a neighbour's length would change a text, and
the keys of a text that grows past the limit would be a mixture. Here the choice is a constant, as in vLLM
(Phi3LongRoPEScaledRotaryEmbedding): the long factors if the window is longer than the original one, else the short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.lengths import Kind, Part, Shared, Walk, length_of_agreement, window_limit
from crossette.types import WindowLimit

_Node = Any  # ov.Node: the package has no stubs for it


@dataclass(frozen=True, slots=True)
class Window:
    """The window in which a graph is served."""

    limit: WindowLimit
    """The shortest limit; its reason is empty if it is the requested one."""
    short: int | None = None
    """The longest window that would use the values for short texts; None if this one does."""


def settle_window(model: ov.Model, requested: int, declared: Iterable[WindowLimit], *, slides: bool) -> Window:
    """Make the choices of a paged graph for the window in which it is served, which is what the limits leave of it.

    Modifies `model`. `slides` says whether it has sliding window attention. Raises ModelError if sequences affect each
    other at any length.
    """
    choices = _Choices(model)
    limits = [
        limit
        for limit in declared
        if not (limit.unless_sliding and slides) and not (limit.unless_chosen and choices.exist)
    ]
    limit = min([WindowLimit(requested, reason=""), *limits], key=lambda limit: limit.tokens)
    choices.make_for(limit.tokens)
    if (found := window_limit(model, limit.tokens)) is not None:
        limit = found
        choices.make_for(limit.tokens)
    return Window(limit, choices.length_before(limit.tokens))


class _Choices:
    """The places of a graph where the longest sequence of a step chooses one of two constants."""

    def __init__(self, model: ov.Model) -> None:
        self._selects = _selects(Walk(model).kinds)
        self._part = Part(model.clone(), _conditions) if self.exist else None

    @property
    def exist(self) -> bool:
        return bool(self._selects)

    def make_for(self, length: int) -> None:
        """Let the graph compute what it would if the longest sequence of each step had this length."""
        if self._part is not None:
            for select, value in zip(self._selects, self._part.values(length), strict=True):
                select.input(0).replace_source_output(ops.constant(np.array(value, np.bool_)).output(0))

    def length_before(self, length: int) -> int | None:
        """The longest length with the choices of a short text, if they are others at `length`."""
        if self._part is None or self._part.agree(self._part.values(1), self._part.values(length)):
            return None
        return length_of_agreement(self._part, length)


def _selects(kinds: Mapping[str, tuple[_Node, Kind]]) -> list[_Node]:
    nodes = [node for node, kind in kinds.values() if kind is Kind.STEP and node.get_type_name() == "Select"]
    return [node for node in nodes if _chooses_constants(node)]


def _chooses_constants(select: _Node) -> bool:
    condition, *branches = (value.get_node() for value in select.input_values())
    is_scalar = condition.output(0).get_partial_shape().is_static and condition.output(0).get_shape() in ([], [1])
    return is_scalar and all(branch.get_type_name() == "Constant" for branch in branches)


def _conditions(kinds: Mapping[str, tuple[_Node, Kind]]) -> tuple[Shared, ...]:
    return tuple(Shared(select.input_value(0), is_table=False) for select in _selects(kinds))
