"""A rebuilt schema without what the grammar compiler cannot combine.

The compiler intersects all schemas of a value, and gives up on some: overlapping patterns of names, patterns whose
combination is too complex, deep nesting. Then as many of them are kept as it accepts together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from crossette.text.schema.compiles import CompilerFault, fault_of_schema
from crossette.text.schema.part import Unenforceable
from crossette.text.schema.report import Report

_MAX_COMPILED: Final = 1000
_MAX_CHARACTERS: Final = 20_000_000
"""Of all schemas that are compiled to find what to leave out, together: some seconds."""
_SCHEMA_WIDE: Final = ("$defs", "x-guidance")
_NO_KEYWORDS: Final = ("$comment", *_SCHEMA_WIDE)
_VALUES: Final = ("enum", "const")
"""Keywords whose values are no schemas."""

Node = dict[str, Any]
"""A rebuilt schema with its JSON pointer in `$comment`."""


def loosen(root: Node, report: Report) -> None:
    """Leave out of a rebuilt schema, in place, what the compiler cannot combine.

    Raises Unenforceable for a schema that no value matches, or that is too large to find what to leave out.
    """
    loosener = _Loosener(root, report)
    while fault := loosener.fault_of(root):
        loosener.reduce(loosener.culprit(root, fault), fault)


class _Loosener:
    def __init__(self, root: Node, report: Report) -> None:
        self._root = root
        self._report = report
        self._num_compiled = 0
        self._num_characters = 0

    def fault_of(self, node: Node) -> CompilerFault | None:
        whole = node | {key: self._root[key] for key in _SCHEMA_WIDE if key in self._root}
        fault = fault_of_schema(whole)
        self._num_compiled += 1
        self._num_characters += len(json.dumps(whole)) if fault or self._num_compiled > 1 else 0
        if fault and (self._num_compiled > _MAX_COMPILED or self._num_characters > _MAX_CHARACTERS):
            raise _unenforceable(self._root, fault)
        return fault

    def culprit(self, node: Node, fault: CompilerFault, path: tuple[str, ...] = ()) -> Node:
        """The innermost schema with a fault of this kind. `path`: the references on the way to it."""
        inner = list(_children(node))
        name = node.get("$ref", "").removeprefix("#/$defs/")
        if name and name not in path:
            inner.append(self._root["$defs"][name])
            path = (*path, name)
        for one in inner:
            found = self.fault_of(one)
            if found and found.is_unsatisfiable == fault.is_unsatisfiable:
                return self.culprit(one, found, path)
        return node

    def reduce(self, node: Node, fault: CompilerFault) -> None:
        """Keep the pieces of a schema that compile together."""
        if fault.is_unsatisfiable:
            raise _unenforceable(node, self.fault_of(node) or fault)
        kept: list[Node] = []
        left_out = 0
        for pointer, piece in _pieces(node):
            found = self.fault_of(_combined(node, [*kept, piece]))
            if found is None:
                kept.append(piece)
                continue
            if found.is_unsatisfiable or not (kept or found.is_circular):  # it is no combination
                raise _unenforceable(node, found)
            self._report.leave_out_schema(pointer, found.reason)
            left_out += 1
        if not left_out:
            raise _unenforceable(node, fault)
        reduced = _combined(node, kept)
        for keyword in node.keys() - set(_NO_KEYWORDS):
            del node[keyword]
        node.update(reduced)


def _unenforceable(node: Node, fault: CompilerFault) -> Unenforceable:
    return Unenforceable(f"the schema at '{node['$comment']}': {fault.reason}")


def _children(node: Node) -> Iterator[Node]:
    """The schemas within a schema, but not those within them."""
    for keyword, value in node.items():
        if keyword not in _VALUES and keyword not in _SCHEMA_WIDE:
            yield from _nodes(value)


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, dict) and isinstance(value.get("$comment"), str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _nodes(one)


def _pieces(node: Node) -> Iterator[tuple[str, Node]]:
    """The schemas that all apply to a value of this one, each with its JSON pointer."""
    pointer = node["$comment"]
    own = {key: one for key, one in node.items() if key not in (*_NO_KEYWORDS, "$ref", "anyOf", "allOf")}
    if own:
        yield pointer, own
    for keyword in ("$ref", "anyOf"):
        if keyword in node:
            yield pointer, {keyword: node[keyword]}
    for one in node.get("allOf", ()):
        if isinstance(one, dict):
            yield from _pieces({"$comment": pointer, **one})


def _combined(node: Node, pieces: list[Node]) -> Node:
    """The schema of several pieces."""
    out: Node = {"$comment": node["$comment"]}
    rest: list[Node] = []
    for piece in pieces:
        if piece.keys().isdisjoint(out):
            out |= piece
        else:
            rest.append({"$comment": node["$comment"], **piece})
    return out | ({"allOf": rest} if rest else {})
