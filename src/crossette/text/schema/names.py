"""The property names that schemas of one value know, in the order in which an object has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from itertools import chain
from typing import Any

from crossette.text.schema.part import OPEN, Part

_CONDITIONAL = ("if", "then", "else", "dependentSchemas", "dependencies")
"""Keywords with schemas of the same value that the grammar may not enforce."""


class NameSet(Set[str]):
    """An immutable set of names: those of `properties`, in the order of the schema, then those that are required."""

    __slots__ = ("_listed", "_required")

    def __init__(self, listed: Iterable[str] = (), required: Iterable[str] = ()) -> None:
        self._listed = dict.fromkeys(listed)
        self._required = {name: None for name in required if name not in self._listed}

    def __contains__(self, name: object) -> bool:
        return name in self._listed or name in self._required

    def __iter__(self) -> Iterator[str]:
        return chain(self._listed, self._required)

    def __len__(self) -> int:
        return len(self._listed) + len(self._required)

    def union(self, other: NameSet) -> NameSet:
        """The names of both, those of this set first."""
        return NameSet(chain(self._listed, other._listed), chain(self._required, other._required))

    def merged(self, other: NameSet) -> NameSet:
        """The names of both, in an order that also keeps that of the other set where the two do not contradict."""
        listed = list(self._listed)
        position = len(listed)
        for name in reversed(other._listed):
            if name in self._listed:
                position = listed.index(name)
            else:
                listed.insert(position, name)
        return NameSet(listed, chain(self._required, other._required))


Names = NameSet | None
"""The property names that the schemas of one value know together; None if they know any name."""

NO_NAMES = NameSet()


def union(one: Names, other: Names, *, are_alternatives: bool = False) -> Names:
    if one is None or other is None:
        return None
    return one.merged(other) if are_alternatives else one.union(other)


def own_names(schema: dict[str, Any], *, is_required_known: bool) -> Names:
    """The names of properties that are listed, and perhaps of those that are required."""
    if OPEN in schema:
        return NameSet(schema["properties"])
    if "patternProperties" in schema or schema.get("additionalProperties", False) is not False:
        return None
    if not is_required_known:
        return NameSet(schema.get("properties", ()))
    lists = [schema.get("required", ()), *schema.get("dependentRequired", {}).values()]
    lists += [one for one in schema.get("dependencies", {}).values() if isinstance(one, list)]
    return NameSet(schema.get("properties", ()), chain.from_iterable(lists))


def conditional(part: Part) -> Iterator[Part]:
    """The schemas of the same value that may apply."""
    for keyword in _CONDITIONAL:
        if part.has(keyword):
            yield from part.members(keyword) if keyword.startswith("depend") else [part.at(keyword)]
