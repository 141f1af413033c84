"""Choices between two constants by the longest sequence of a step are made once, for the served window."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from crossette.engines.openvino.length_choices import Window, settle_window
from crossette.types import WindowLimit
from support.choosing_graphs import longest, number

pytestmark = pytest.mark.model

SWITCH = 512
CHUNKED = WindowLimit(256, "chunks")
LONGROPE = WindowLimit(SWITCH, "longrope", unless_chosen=True)
SLIDING = WindowLimit(300, "windows", unless_sliding=True)


def graph(*, chooses: bool = True) -> ov.Model:
    """Positions times three in a step with more than `SWITCH` tokens of one sequence, else times one."""
    flat = ops.parameter([-1], np.int64)
    flat.output(0).set_names({"position_ids"})
    positions = ops.unsqueeze(flat, number(1)).output(0)
    factor: Any = number(2)
    if chooses:
        factor = ops.select(ops.greater(longest(positions), number(SWITCH)), number(3), number(1))
    return ov.Model([ops.multiply(positions, factor).output(0)], [flat], "graph")


def factors(model: ov.Model) -> set[int]:
    """The factors of a short text alone and beside a long one."""
    compiled = ov.Core().compile_model(model, "CPU")
    return {int(compiled([np.array(positions)])[0].flat[0]) for positions in ([1, 2], [1, 4000])}


@pytest.mark.parametrize(
    ("requested", "limits", "window", "factor"),
    [
        (4096, [], Window(WindowLimit(4096, ""), SWITCH), 3),
        (4096, [LONGROPE], Window(WindowLimit(4096, ""), SWITCH), 3),
        (SWITCH + 1, [LONGROPE], Window(WindowLimit(SWITCH + 1, ""), SWITCH), 3),
        (SWITCH, [LONGROPE], Window(WindowLimit(SWITCH, "")), 1),
        (4096, [LONGROPE, CHUNKED], Window(CHUNKED), 1),
        (4096, [SLIDING], Window(SLIDING), 1),
    ],
)
def test_the_window_chooses(requested: int, limits: list[WindowLimit], window: Window, factor: int) -> None:
    model = graph()

    assert settle_window(model, requested, limits, slides=False) == window
    assert factors(model) == {factor}


def test_a_limit_that_the_graph_does_not_have_does_not_apply() -> None:
    assert settle_window(graph(), 4096, [SLIDING], slides=True).limit.tokens == 4096


def test_a_graph_with_one_set_of_factors_has_the_short_window() -> None:
    model = graph(chooses=False)

    assert settle_window(model, 4096, [LONGROPE], slides=False) == Window(LONGROPE)
    assert factors(model) == {2}
