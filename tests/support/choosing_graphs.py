"""Models whose positions are scaled by a value computed from all positions, as exporters produce for rotary scaling.

In the stateful graph these are the positions of one sequence, in the paged graph those of all sequences of a step.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

Output = Any  # ov.Output: the package has no stubs for it

ALL_AXES = np.array([0, 1], np.int64)


def number(value: int) -> Output:
    return ops.constant(np.int64(value)).output(0)


def longest(positions: Output) -> Output:
    """The length of the longest sequence."""
    return ops.add(ops.reduce_max(positions, ALL_AXES), number(1)).output(0)


def factor_beyond(length: int) -> Callable[[Output], Output]:
    """Three for sequences longer than `length`, else one."""

    def choose(positions: Output) -> Output:
        is_long = ops.convert(ops.greater(longest(positions), number(length)), np.int64)
        return ops.add(ops.multiply(is_long, number(2)), number(1)).output(0)

    return choose


def write_choosing(source: Path, target: Path, choose: Callable[[Output], Output]) -> Path:
    """A copy of the model `source` whose rotary positions are multiplied by `choose(positions)`."""
    shutil.copytree(source, target)
    model = ov.Core().read_model(source / "openvino_model.xml")
    positions = model.input("position_ids").get_node()
    users = list(positions.output(0).get_target_inputs())
    scaled = ops.multiply(positions, choose(positions.output(0)))
    for user in users:
        user.replace_source_output(scaled.output(0))
    model.validate_nodes_and_infer_types()
    ov.save_model(model, target / "openvino_model.xml", compress_to_fp16=False)
    return target
