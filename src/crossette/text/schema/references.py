"""References of a JSON schema: pointers, anchors, and identifiers of the schemas within it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote, urljoin

from crossette.numerals import parse_count
from crossette.text.schema.part import Part, escaped, uses_draft

_VALUES: Final = ("enum", "const", "default", "examples", "example")
"""Keywords whose values are no schemas."""


class References:
    """Resolves the references of one root schema."""

    def __init__(self, root: Part) -> None:
        self._root = root
        self._resources: dict[str, str] = {"": ""}
        """The pointers of the schemas with an identifier, by their URI."""
        self._anchors: dict[str, str] = {}
        """The pointers of anchors, by URI and name."""
        self._bases: dict[str, str] = {"": ""}
        """The base URIs of schemas with an identifier, by their pointer."""
        self.has_unevaluated = False
        """Whether a schema restricts the properties that no other schema of the same object evaluates."""
        self._collect("id" if uses_draft(root, ("draft-03", "draft-04")) else "$id")

    def target(self, part: Part) -> Part | None:
        """The schema that a `$ref` refers to; None if this root schema does not contain it."""
        url, _, fragment = str(part.schema["$ref"]).partition("#")
        base = self._base(part.pointer)
        uri = _joined(base, url) if url else base
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            pointer = self._anchors.get(f"{uri}#{fragment}")
        else:
            pointer = self._resources[uri] + fragment if uri in self._resources else None
        try:
            return None if pointer is None else self.find(pointer)
        except (KeyError, IndexError, TypeError, ValueError):
            return None

    def find(self, pointer: str) -> Part:
        """The schema at a pointer."""
        *_, found = self.path_to(pointer)
        return found

    def path_to(self, pointer: str) -> Iterator[Part]:
        """Yield the schemas and values on the path of a pointer, from the root on."""
        found = self._root
        yield found
        for step in pointer.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            found = found.at(parse_count(step) if isinstance(found.schema, list) else step)
            yield found

    def _base(self, pointer: str) -> str:
        while pointer not in self._bases:
            pointer = pointer.rpartition("/")[0]
        return self._bases[pointer]

    def _collect(self, keyword: str) -> None:
        """Find all identifiers and anchors. Without recursion: a schema may be nested deeper than the stack."""
        pending: list[tuple[Any, str, str]] = [(self._root.schema, "", "")]
        while pending:
            value, pointer, base = pending.pop()
            if isinstance(value, dict):
                base = self._add(value, pointer, base, keyword)
                self.has_unevaluated |= value.get("unevaluatedProperties", True) is not True
                inner = [(key, one) for key, one in value.items() if key not in _VALUES]
                pending += [(one, f"{pointer}/{escaped(key)}", base) for key, one in inner]
            elif isinstance(value, list):
                pending += [(one, f"{pointer}/{index}", base) for index, one in enumerate(value)]

    def _add(self, schema: dict[str, Any], pointer: str, base: str, keyword: str) -> str:
        """Note the identifier and the anchor of a schema. Return the base URI of what it contains."""
        identifier, anchor = schema.get(keyword), schema.get("$anchor")
        if isinstance(identifier, str) and identifier.startswith("#"):  # an anchor, before draft 2019-09
            self._anchors.setdefault(f"{base}{identifier}", pointer)
        elif isinstance(identifier, str):
            base = _joined(base, identifier)
            self._resources.setdefault(base, pointer)
            self._bases[pointer] = base
        if isinstance(anchor, str):
            self._anchors.setdefault(f"{base}#{anchor}", pointer)
        return base


def _joined(base: str, reference: str) -> str:
    """A reference resolved against a base URI, without its fragment."""
    try:
        return urljoin(base, reference).partition("#")[0]
    except ValueError:  # a host that is no address
        return reference
