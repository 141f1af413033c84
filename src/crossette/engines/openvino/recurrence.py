"""Recurrent layers of a paged graph: tables of states, of which a sequence has a row, and the inputs that select rows.

OpenVINO's transformation makes each state an input, which a step reads and writes like the KV caches. It lets attention
and recurrence share the borders of subsequences. We separate them: an output token is a subsequence of its own for
attention, so that it is always computed by the same kernel (runner.py), but a recurrence over several output tokens is
one subsequence, so that each begins with the state that the one before it leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.states import ZERO
from crossette.errors import ModelError

STATE = "_state_table."
"""Part of the input names of states: conv_state_table.0."""

_EXACT = frozenset({"conv", "gated_delta"})
"""Kinds of states, the names before `STATE`, that are the same however a prompt is cut into steps. Those of Mamba,
selective_ssm, are not: logits of Granite 4 change by 0.002."""

_BEGINS, _OWN_BEGINS = "subsequence_begins", "la.subsequence_begins"
_ROWS, _ROWS_BEGINS, _PAST, _INTERVAL = (
    "la.block_indices",
    "la.block_indices_begins",
    "la.past_lens",
    "la.cache_interval",
)
INPUTS = frozenset({_OWN_BEGINS, _ROWS, _ROWS_BEGINS, _PAST, _INTERVAL})
"""The inputs of a graph with recurrent layers, beside its states."""


@dataclass(frozen=True, slots=True)
class StateTable:
    """One state of one layer: `[rows, *row_shape]` of `element_type`."""

    name: str
    element_type: Any  # ov.Type: the package has no stubs for it
    row_shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        return int(prod(self.row_shape) * self.element_type.size)


class Recurrence(NamedTuple):
    """Consecutive tokens of one sequence in a step."""

    num_tokens: int
    past: int
    rows: Sequence[int]
    """The first is the row that it reads. A single row gets the last state, several get the state after each token."""


def separate_recurrence(model: ov.Model, family: str) -> None:
    """Give recurrent layers borders of subsequences of their own, and let positions be those of `position_ids`.

    Has no effect without such layers. Raises ModelError for those that cannot be served.
    """
    _refuse_states(model, family)
    begins, rows = _parameter(model, _BEGINS), _parameter(model, _ROWS)
    if begins is None or rows is None:
        return
    own = _new_input(_OWN_BEGINS, np.int32)
    recurrent = {port.get_node().get_friendly_name() for port in rows.output(0).get_target_inputs()}
    for port in begins.output(0).get_target_inputs():
        if port.get_node().get_friendly_name() in recurrent:
            port.replace_source_output(own.output(0))
    model.add_parameters([own])
    _connect_positions(model)
    model.validate_nodes_and_infer_types()


def _refuse_states(model: ov.Model, family: str) -> None:
    names = [name for parameter in model.get_parameters() for name in parameter.output(0).get_names()]
    kinds = sorted({name.partition(STATE)[0] for name in names if STATE in name} - _EXACT)
    if kinds:
        raise ModelError(
            f"The family '{family}' is not supported: the states of its recurrent layers ({', '.join(kinds)}) may"
            " depend on how a prompt is cut into steps, and its text on other requests. Choose a model of another"
            " family."
        )


def _connect_positions(model: ov.Model) -> None:
    """Let the graph take positions from their input.

    Qwen3.5's graph numbers the tokens of a step itself, up to the length of the longest sequence: right for one only.
    Others have no input of positions, so that the transformation adds one of several names.
    """
    positions, longest = _parameter(model, "position_ids"), _parameter(model, "max_context_len")
    if positions is None or longest is None:
        return
    positions.output(0).get_tensor().set_names({"position_ids"})
    column = ops.reshape(positions, np.array([1, -1, 1]), special_zero=False)
    for port in longest.output(0).get_target_inputs():
        for numbers in _ranges_after(port.get_node()):
            for user in (port.get_node() for port in numbers.output(0).get_target_inputs()):
                user.output(0).replace(column.output(0))  # [1, 1, tokens], where tokens are the last axis but one


def _ranges_after(node: Any) -> Iterator[Any]:
    """The ranges whose borders are computed from a node by addition and subtraction."""
    if node.get_type_name() == "Range":
        yield node
    elif node.get_type_name() in ("Subtract", "Convert", "Add"):
        for port in node.output(0).get_target_inputs():
            yield from _ranges_after(port.get_node())


def state_tables(compiled: ov.CompiledModel) -> tuple[StateTable, ...]:
    """The states of a compiled graph, in the order of its inputs."""
    return tuple(
        StateTable(
            port.get_any_name(),
            port.get_element_type(),
            tuple(dimension.get_length() for dimension in list(port.get_partial_shape())[1:]),
        )
        for port in compiled.inputs
        if STATE in port.get_any_name()
    )


class StateMemory:
    """The tables of a graph: `num_rows` rows for the scheduler, and one more as scratch space."""

    def __init__(self, request: ov.InferRequest, tables: Iterable[StateTable], num_rows: int) -> None:
        self.scratch = (num_rows,)
        self._tensors = []
        for table in tables:
            tensor = ov.Tensor(table.element_type, ov.Shape([num_rows + 1, *table.row_shape]))
            tensor.data[num_rows] = 0
            request.set_tensor(table.name, tensor)
            self._tensors.append(tensor)

    def copy(self, copies: Iterable[tuple[int, int]]) -> None:
        """Copy rows (from, to), in order."""
        for source, target in copies:
            for tensor in self._tensors:
                tensor.data[target] = 0 if source == ZERO else tensor.data[source]

    def close(self) -> None:
        self._tensors.clear()


def recurrence_inputs(recurrences: Sequence[Recurrence]) -> dict[str, npt.NDArray[Any]]:
    """The graph's inputs for a step."""
    rows = [(one.rows[0], *one.rows) for one in recurrences]
    return {
        _OWN_BEGINS: np.array([0, *accumulate(one.num_tokens for one in recurrences)], np.int32),
        _ROWS: np.fromiter(chain.from_iterable(rows), np.int32),
        _ROWS_BEGINS: np.array([0, *accumulate(map(len, rows))], np.int32),
        _PAST: np.array([one.past for one in recurrences], np.int32),
        # 0 writes the last state only. 1 writes one after each token; other intervals are counted in ways that differ
        # between kernels.
        _INTERVAL: np.array([int(len(one.rows) > 1) for one in recurrences], np.int32),
    }


def _new_input(name: str, kind: type[np.int32]) -> ov.Node:
    node = ops.parameter([-1], kind, name=name)
    node.get_output_tensor(0).set_names({name})
    return node


def _parameter(model: ov.Model, name: str) -> Any:
    return next((one for one in model.get_parameters() if name in one.output(0).get_names()), None)
