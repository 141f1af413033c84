"""Headers that state how the schemas of a request are enforced."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from crossette.text.output_plan import PLAIN, OutputPlan

_MAX_ITEMS = 20
_SAFE = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"


def schema_headers(plan: OutputPlan) -> dict[str, str]:
    """`x-crossette-checked`: the keywords that no grammar enforces, so that the finished answer is checked.

    `x-crossette-schema-notes`: keywords that may be misspelled. Each lists at most 20, percent-encoded.
    """
    if plan is PLAIN:
        return {}
    headers = {"x-crossette-checked": plan.checked, "x-crossette-schema-notes": plan.notes}
    return {name: listed(items) for name, items in headers.items() if items}


def listed(items: Sequence[str]) -> str:
    """Texts as the value of a header: at most 20, percent-encoded."""
    more = [f"and {len(items) - _MAX_ITEMS} more"] if len(items) > _MAX_ITEMS else []
    return ", ".join([*map(_encoded, items[:_MAX_ITEMS]), *more])


def _encoded(text: str) -> str:
    return quote(text, safe=_SAFE)
