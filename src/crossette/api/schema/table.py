"""The type of a field table, and the validation of bodies against it. The tables are in `fields.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias

import msgspec

from crossette.api.dialect import Dialect
from crossette.errors import Code, Unsupported
from crossette.types import Range, within

Neutral = tuple[Any, ...]
"""Values, besides null, that have no effect."""


class Description(str):
    """A default that is not a JSON value, as text."""

    __slots__ = ()


REQUIRED: Final = Description("required")


@dataclass(frozen=True, slots=True)
class Field:
    """How one field of a request is treated."""

    note: str
    state: Literal["honoured", "recorded", "refused"] = "honoured"
    default: Any = None
    """The default: a JSON value, a `Description`, or a function that returns either for a dialect."""
    limits: Range | Callable[[Dialect], Range] | None = None
    """Minimum and maximum: of a number, of a list's items, of a map's pairs."""
    engine: str | None = None
    """The field of `GenerationRequest` or `SamplingParams` that it sets; None if the engine does not receive it."""
    neutral: Neutral = ()
    """The values that an unsupported field may have."""
    endpoint: str | None = None
    """The endpoint that has the field, if this one has not."""

    def default_in(self, dialect: Dialect) -> Any:
        return self.default(dialect) if callable(self.default) else self.default

    def limits_in(self, dialect: Dialect) -> Range | None:
        return self.limits(dialect) if callable(self.limits) else self.limits


class Table(Mapping[str, Field]):
    """The fields of a wire type by name. The subsets that validation needs are computed once."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = dict(fields)
        self.refused = {name: field for name, field in fields.items() if field.state == "refused"}
        self.recorded = tuple(name for name, field in fields.items() if field.state == "recorded")
        self.limits = tuple((name, field.limits) for name, field in fields.items() if field.limits is not None)
        self.refused_values = values_of(self.refused)
        self.recorded_values = values_of(self.recorded)
        self.limited_values = values_of([name for name, _ in self.limits])

    def __getitem__(self, name: str) -> Field:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def values_of(names: Collection[str]) -> Callable[[object], tuple[Any, ...]]:
    """A function for the values of these attributes: one call, as requests have a hundred fields, few of them set."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda body: tuple(getattr(body, name) for name in names)


Refused: TypeAlias = Any
"""The wire type of an unsupported field: any value is decoded, and `refuse_unsupported` checks it."""

Unused: TypeAlias = Any
"""The wire type of a field of a client's record that has no effect: any value is accepted."""


def recorded(note: str, limits: Range | None = None) -> Field:
    """A field that is only logged."""
    return Field(note, "recorded", limits=limits)


def refused(note: str, *neutral: Any) -> Field:
    """An unsupported field: null and the `neutral` values are accepted, all others rejected."""
    return Field(note, "refused", neutral=neutral)


def elsewhere(endpoint: str) -> Field:
    """A field of another endpoint: null is accepted, as everywhere."""
    return Field(f"A field of {endpoint}.", "refused", endpoint=endpoint)


def refuse_unsupported(body: msgspec.Struct, table: Table, path: str = "") -> None:
    """Raise Unsupported for the first unsupported field that has an effect."""
    values = table.refused_values(body)
    if values.count(None) == len(values):
        return
    for (name, field), value in zip(table.refused.items(), values, strict=True):
        if value is not None and not is_neutral(value, field.neutral):
            allowed = ", ".join(["null", *(msgspec.json.encode(other).decode() for other in field.neutral)])
            what = f"is a field of {field.endpoint}" if field.endpoint else "is not supported yet"
            reason = "" if field.endpoint else f" {field.note}"
            message = f"'{path}{name}' {what}: leave it out, or send {allowed}.{reason}"
            raise Unsupported(message, param=f"{path}{name}")


def check_limits(body: msgspec.Struct, table: Table, dialect: Dialect) -> None:
    """Raise InvalidRequest for the first number, list or map that exceeds its limits."""
    for (name, limits_or_rule), value in zip(table.limits, table.limited_values(body), strict=True):
        if value is None or isinstance(value, bool | str):
            continue
        limits = limits_or_rule(dialect) if callable(limits_or_rule) else limits_or_rule
        if isinstance(value, list | dict):
            code: Code = "array_above_max_length" if isinstance(value, list) else "object_above_max_properties"
            within(f"the length of {name}", len(value), limits, param=name, code=code)
        else:
            within(name, value, limits)


def is_neutral(value: Any, neutral: Neutral) -> bool:
    """Whether a value is one of those without effect, as JSON values.

    True is not 1, and a null of an object is the same as no entry.
    """
    if isinstance(value, dict):
        value = {name: entry for name, entry in value.items() if entry is not None}
    return any(isinstance(value, bool) == isinstance(other, bool) and bool(value == other) for other in neutral)
