"""Formats: those that are enforced, each a subset of what validators accept, and those that are only checked.

Any other format is an annotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_OFFSET = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_TIME = f"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{{1,6}})?{_OFFSET}"

_END, _MIDDLE = "[A-Za-z0-9]", "[A-Za-z0-9-]"


def _label(limit: int = 63) -> str:
    """A label of a host name. Two hyphens as third and fourth character are excluded: they mark an encoding."""
    rest, inner = f"(?:{_MIDDLE}{{0,{limit - 4}}}{_END})?", f"(?:{_MIDDLE}{{0,{limit - 5}}}{_END})?"
    return f"{_END}(?:{_END}|{_MIDDLE}{_END}{rest}|{_MIDDLE}-{_END}{inner})?"


_HOST = f"{_label()}(?:\\.{_label()})*"
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"


def _atoms(num_more: int) -> str:
    """The local part of an address, of at most 64 characters, with `num_more` atoms after the first."""
    room = 64 // (num_more + 1)
    return f"{_ATOM}{{1,{64 - room * num_more}}}(?:\\.{_ATOM}{{1,{room - 1}}}){{{num_more}}}"


def _labels(num_more: int) -> str:
    """The labels after the first one, of at most 126 characters."""
    return f"(?:\\.{_label(min(63, 126 // num_more - 1))}){{{num_more}}}"


_MAILBOX = f"(?:{'|'.join(map(_atoms, range(8)))})@{_label()}(?:{'|'.join(map(_labels, range(1, 6)))})?"

_POINTER = "(?:/(?:[^/~]|~[01])*)*"
_BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"

_CHAR = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_NO_COLON = "(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})"
_PATH = f"(?:/(?:{_CHAR}+(?:/{_CHAR}*)*)?|{_NO_COLON}+(?:/{_CHAR}*)*)?"
_TAIL = f"(?:\\?(?:{_CHAR}|[/?])*)?(?:#(?:{_CHAR}|[/?])*)?"

FORMAT_SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "date": {"pattern": f"^{_DATE}$"},
    "time": {"pattern": f"^{_TIME}$"},
    "date-time": {"pattern": f"^{_DATE}T{_TIME}$"},
    "hostname": {"pattern": f"^{_HOST}$", "maxLength": 253},
    "email": {"pattern": f"^{_MAILBOX}$"},
    "json-pointer": {"pattern": f"^{_POINTER}$"},
    "relative-json-pointer": {"pattern": f"^(?:0|[1-9][0-9]*)(?:#|{_POINTER})$"},
    "base64": {"pattern": f"^{_BASE64}$"},
    "base64url": {"pattern": "^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2}(?:==)?|[A-Za-z0-9_-]{3}=?)?$"},
    "uri-reference": {"anyOf": [{"format": "uri"}, {"pattern": f"^{_PATH}{_TAIL}$"}]},
    "e164": {"pattern": "^\\+[1-9][0-9]{6,14}$"},
}
"""Formats that are defined here, as schemas. The compiler's own versions allow 29 February in every year and 61 seconds
in every minute, and do not limit the length of host names and addresses.

Years begin at 1 and fractions of a second have up to six digits, as programming languages parse them. The pattern of an
address limits its length itself: with a separate bound on the whole, the compiler rejects a request's own patterns. So
an address has up to eight atoms and six labels, which are shorter the more there are. Quoted local parts and literal
addresses of hosts are excluded.
"""

LONGEST: Final = {"email": 254}
"""The most characters that a format's pattern allows. RFC 5321 allows 256 for an address with its brackets."""

FORMATS: Final = frozenset({"duration", "ipv4", "ipv6", "uri", "uuid"})
"""Formats whose implementation in the compiler is correct."""

ALIASES: Final = {"guid": "uuid", **{f"uuid{version}": "uuid" for version in range(1, 9)}}
"""Other names of enforced formats."""

CHECKED_FORMATS: Final = frozenset({"regex", "uri-template", "iri", "iri-reference", "idn-email", "idn-hostname"})
"""Formats of the specification that only the validator implements."""

INTEGER_FORMATS: Final[Mapping[str, tuple[int, int]]] = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    "uint": (0, 2**64 - 1),
}
"""Formats of integers, as bounds."""
