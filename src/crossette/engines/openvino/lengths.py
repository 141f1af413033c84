"""Find the longest context window in which no sequence's length changes what is computed for another.

A paged graph computes many sequences in one step. Exported models may contain values that were per sequence before and
now depend on the longest sequence of the step: rotary factors chosen by the largest position, an attention scale that
grows with the context. In such a graph a long sequence changes the text of all others.

These values are found by following the inputs that depend on sequence lengths, and are evaluated for growing lengths.
As long as they stay the same, sequences cannot affect each other. The probe at load catches what this analysis misses
(exactness.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.kv_cache import BLOCK_SIZE
from crossette.errors import ModelError
from crossette.types import WindowLimit

_Node = Any  # ov.Node and ov.Output: the package has no stubs for them
_Output = Any
_Values = list[npt.NDArray[Any]]

_SUMS = frozenset({"ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "CumSum"})
"""Operations whose result depends on all tokens of a step."""

_MANY = 24
"""A value with more ancestors than this is not checked for being constant."""


class Kind(Enum):
    """What a value depends on."""

    MODEL = "constant"
    TOKEN = "the position of each token"
    STEP = "the longest sequence of the step"


_Kinds = dict[str, tuple[_Node, Kind]]

_STARTS = {"position_ids": Kind.TOKEN, "max_context_len": Kind.STEP}
"""The inputs that depend on sequence lengths."""


def window_limit(model: ov.Model, window: int) -> WindowLimit | None:
    """The longest window in which no sequence's length changes another's values; None if that is all of `window`.

    `model` is a paged graph, and is not modified. Raises ModelError if sequences affect each other at any length.
    """
    if not _shared_values(Walk(model).kinds):
        return None
    part = Part(model.clone())
    length = length_of_agreement(part, window)
    if length < min(BLOCK_SIZE, window):
        raise _mixing(part.shared[0].output.get_node())
    reason = "beyond them its graph computes values from the longest sequence of a batch, which changes other texts"
    return WindowLimit(length, reason) if length < window else None


def _mixing(node: _Node) -> ModelError:
    return ModelError(
        f"Its graph computes '{node.get_friendly_name()}' from all sequences of a batch together, so sequences would "
        "change each other's text. Choose another model."
    )


# --- which step values are used by token values ---


class Walk:
    """Classifies the nodes that are computed from the length inputs and constants alone."""

    def __init__(self, model: ov.Model) -> None:
        self.kinds: dict[str, tuple[_Node, Kind]] = {}
        """The classified nodes, by name."""
        self._todo: deque[_Node] = deque()
        for parameter in model.get_parameters():
            for name in parameter.output(0).get_names() & _STARTS.keys():
                self._add(parameter, _STARTS[name])
        while self._todo:
            for user, _ in _users(self._todo.popleft()):
                if user.get_name() not in self.kinds and (kind := self._kind_of(user)):
                    self._add(user, kind)

    def _add(self, node: _Node, kind: Kind) -> None:
        self.kinds[node.get_name()] = node, kind
        self._todo.append(node)

    def _kind_of(self, node: _Node) -> Kind | None:
        """None for a node that also depends on other inputs; called again if those become classified."""
        if node.get_type_name() in ("PagedAttentionExtension", "Result"):
            return None
        sources = set()
        for source in _sources(node):
            if not (kind := self._kind_of_source(source)):
                return None
            sources.add(kind)
        if Kind.TOKEN not in sources:
            return Kind.STEP if Kind.STEP in sources else Kind.MODEL
        if node.get_type_name() == "ShapeOf":
            return Kind.MODEL
        if node.get_type_name() in _SUMS and _adds_tokens(node):
            raise _mixing(node)
        return Kind.TOKEN if _has_tokens(node) else Kind.STEP

    def _kind_of_source(self, node: _Node) -> Kind | None:
        if node.get_name() in self.kinds:
            return self.kinds[node.get_name()][1]
        return Kind.MODEL if _is_constant(node) else None


def _users(node: _Node) -> Iterator[tuple[_Node, Any]]:
    """The nodes that read a node's outputs, each with its input port."""
    for output in node.outputs():
        for port in output.get_target_inputs():
            yield port.get_node(), port


def _has_tokens(node: _Node) -> bool:
    """Whether a value has a row per token: the only axis of unbounded length."""
    shape = node.output(0).get_partial_shape()
    return shape.rank.is_dynamic or any(dimension.max_length == -1 for dimension in shape)


def _adds_tokens(node: _Node) -> bool:
    """Whether a reduction runs over the tokens of a step, the first axis in a paged graph."""
    if node.get_type_name() != "CumSum":
        return not _has_tokens(node)
    axis = node.input_value(1).get_node()
    return axis.get_type_name() != "Constant" or int(axis.get_data()) in (0, -len(node.output(0).get_partial_shape()))


def _is_constant(node: _Node) -> bool:
    """Whether a value is computed from constants and shapes alone."""
    todo, num_seen = [node], 0
    while todo:
        node = todo.pop()
        num_seen += 1
        if num_seen > _MANY or node.get_type_name() in ("Parameter", "PagedAttentionExtension"):
            return False
        if node.get_type_name() != "ShapeOf":
            todo += reversed(_sources(node))
    return True


def _sources(node: _Node) -> list[_Node]:
    return [value.get_node() for value in node.input_values()]


@dataclass(frozen=True, slots=True)
class Shared:
    """A step value that a token value is computed from."""

    output: _Output
    is_table: bool
    """Whether tokens look up its rows by position: then it may grow with the step, if its rows stay the same."""

    def agrees(self, shorter: npt.NDArray[Any], longer: npt.NDArray[Any]) -> bool:
        if self.is_table:  # approximately: a kernel may treat the last rows of a table differently
            return np.allclose(shorter, longer[: len(shorter)], rtol=1e-5, atol=1e-6)
        return np.array_equal(shorter, longer)


def _shared_values(kinds: dict[str, tuple[_Node, Kind]]) -> tuple[Shared, ...]:
    found: dict[tuple[str, int, bool], Shared] = {}
    for name, (node, kind) in kinds.items():
        if kind is not Kind.STEP:
            continue
        for user, port in _users(node):
            if kinds.get(user.get_name(), (user, None))[1] is Kind.STEP:
                continue
            if user.get_type_name() == "PagedAttentionExtension" and node.get_type_name() == "Parameter":
                continue  # it also receives the length of each sequence
            source = port.get_source_output()
            is_table = port.get_index() == 0 and _reads_rows(user, kinds)
            found.setdefault((name, source.get_index(), is_table), Shared(source, is_table))
    return tuple(found.values())


def _reads_rows(node: _Node, kinds: dict[str, tuple[_Node, Kind]]) -> bool:
    """Whether a node looks up rows of its first input by token position."""
    if node.get_type_name() != "Gather":
        return False
    rows, axis = (node.input_value(port).get_node() for port in (1, 2))
    _, kind = kinds.get(rows.get_name(), (rows, None))
    return kind is Kind.TOKEN and axis.get_type_name() == "Constant" and int(axis.get_data()) == 0


# --- up to which length these values stay the same ---


class Part:
    """The subgraph that computes the shared values, or those that `pick` finds among the classified nodes.

    Modifies `model`, which must not be used otherwise.
    """

    def __init__(self, model: ov.Model, pick: Callable[[_Kinds], tuple[Shared, ...]] | None = None) -> None:
        kinds = Walk(model).kinds
        self.shared = (pick or _shared_values)(kinds)
        self._inputs = {
            name: parameter
            for parameter in model.get_parameters()
            for name in parameter.output(0).get_names() & _STARTS.keys()
        }
        self._placeholders = _cut_shapes(self.shared, kinds)
        outputs = [value.output for value in self.shared]
        part = ov.Model(outputs, [*self._inputs.values(), *self._placeholders], "shared values")
        self._request = ov.Core().compile_model(part, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()

    def values(self, length: int) -> _Values:
        """The shared values in a step of one token, the last of a sequence of that length."""
        feeds = {"position_ids": np.array([length - 1], np.int64), "max_context_len": np.array(length, np.int32)}
        shapes = (placeholder.get_partial_shape() for placeholder in self._placeholders)
        one_row = [np.zeros([1 if axis.is_dynamic else axis.get_length() for axis in shape]) for shape in shapes]
        self._request.infer([*(feeds[name] for name in self._inputs), *one_row])
        return [self._request.get_output_tensor(port).data.copy() for port in range(len(self.shared))]

    def agree(self, shorter: _Values, longer: _Values) -> bool:
        return all(map(Shared.agrees, self.shared, shorter, longer))


def _cut_shapes(shared: Sequence[Shared], kinds: dict[str, tuple[_Node, Kind]]) -> list[_Node]:
    """Replace nodes of which only the shape is used by new inputs, which cuts off the rest of the graph."""
    placeholders = []
    todo, seen = [value.output.get_node() for value in shared], set()
    while todo:
        node = todo.pop()
        if node.get_name() in seen:
            continue
        seen.add(node.get_name())
        if node.get_type_name() == "ShapeOf" and kinds.get(node.get_name(), (node, None))[1] is not Kind.STEP:
            placeholders.append(ops.parameter(node.input_value(0).get_partial_shape(), np.float64))
            node.input(0).replace_source_output(placeholders[-1].output(0))
        else:
            todo += _sources(node)
    return placeholders


def length_of_agreement(part: Part, window: int) -> int:
    """The largest length, `window` at most, up to which all values agree with those of shorter lengths."""
    length, too_long, values = 1, window + 1, part.values(1)
    while length < window:
        longer = min(2 * length, window) if too_long > window else (length + too_long) // 2
        if longer == length:
            break
        found = part.values(longer)
        if part.agree(values, found):
            length, values = longer, found
        else:
            too_long = longer
    return length
