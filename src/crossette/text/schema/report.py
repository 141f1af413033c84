"""What becomes of the keywords of a schema: enforced, only checked afterwards, or refused."""

from __future__ import annotations

from crossette.text.schema.part import Part, Unenforceable

MAX_FAULTS = 20
"""The most faults of one schema that are reported."""


class Report:
    """Collects the keywords that a grammar cannot enforce, and keywords that look misspelled."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._checked: dict[str, None] = {}
        self._faults: dict[str, None] = {}
        self._notes: dict[str, None] = {}

    def leave_out(self, part: Part, keyword: str, reason: str) -> None:
        """Leave a keyword out of the grammar. It is only checked then, or refused if the schema is strict."""
        if self._strict:
            self._faults[str(part.error(keyword, reason))] = None
        else:
            self._checked[part.pointer_of(keyword)] = None

    def leave_out_schema(self, pointer: str, reason: str) -> None:
        """Leave out all keywords of a schema, or some of them, that the compiler cannot combine with others."""
        if self._strict:
            self._faults[f"the schema at '{pointer}': {reason}"] = None
        else:
            self._checked[pointer] = None

    def note(self, sentence: str) -> None:
        self._notes[sentence] = None

    @property
    def checked(self) -> tuple[str, ...]:
        """The JSON pointers of the keywords that are only checked."""
        return tuple(self._checked)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def raise_faults(self) -> None:
        """Raise Unenforceable with the first faults, if there are any."""
        if self._faults:
            raise Unenforceable(*list(self._faults)[:MAX_FAULTS])
