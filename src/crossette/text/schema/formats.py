"""The formats of strings that are enforced. They mean what JSON Schema's validators check, or less."""

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
    """Two hyphens in the third and fourth place are not for everyone: an encoding stands behind them."""
    rest, inner = f"(?:{_MIDDLE}{{0,{limit - 4}}}{_END})?", f"(?:{_MIDDLE}{{0,{limit - 5}}}{_END})?"
    return f"{_END}(?:{_END}|{_MIDDLE}{_END}{rest}|{_MIDDLE}-{_END}{inner})?"


_HOST = f"{_label()}(?:\\.{_label()})*"
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"


def _atoms(num_more: int) -> str:
    """What stands before the @ of an address: 64 characters at most, the first atom of them and so many more."""
    room = 64 // (num_more + 1)
    return f"{_ATOM}{{1,{64 - room * num_more}}}(?:\\.{_ATOM}{{1,{room - 1}}}){{{num_more}}}"


def _labels(num_more: int) -> str:
    """What stands behind the first label: 126 characters at most."""
    return f"(?:\\.{_label(min(63, 126 // num_more - 1))}){{{num_more}}}"


_MAILBOX = f"(?:{'|'.join(map(_atoms, range(8)))})@{_label()}(?:{'|'.join(map(_labels, range(1, 6)))})?"

WRITTEN: Final[Mapping[str, Mapping[str, Any]]] = {
    "date": {"pattern": f"^{_DATE}$"},
    "time": {"pattern": f"^{_TIME}$"},
    "date-time": {"pattern": f"^{_DATE}T{_TIME}$"},
    "hostname": {"pattern": f"^{_HOST}$", "maxLength": 253},
    "email": {"pattern": f"^{_MAILBOX}$"},
}
"""Written here, as schemas. The compiler's own allow 29 February in every year and 61 seconds in every minute, and know
nothing of how long names of hosts and addresses may be.

Years begin at 1 and fractions of a second have up to six digits, as programming languages read them. An address counts
its characters within the pattern: beside a bound on all of it, the compiler gives up on a request's own patterns. So it
has up to eight atoms and six labels, the more the shorter; quoted names and addresses of machines are left out.
"""

LONGEST: Final = {"email": 254}
"""Characters that a pattern has room for. RFC 5321 gives 256 to an address and the brackets around it."""

FORMATS: Final = frozenset({"duration", "ipv4", "ipv6", "uri", "uuid"})
"""The compiler's own that hold."""
