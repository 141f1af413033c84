"""Size limits of fields that are expensive to process: messages, response formats, tools and stop strings."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crossette.api.http import HttpSettings
from crossette.api.schema.fields import MAX_STOP, MAX_STOP_TOTAL
from crossette.errors import InvalidRequest

_OUTPUT_FORMATS = (
    "response_format",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
)
_TOOLS = ("tools", "functions")


def check_sizes(body: msgspec.Struct, settings: HttpSettings) -> None:
    """Raise InvalidRequest for too many messages, a large response format or tool list, or a long stop string."""
    num_messages = len(getattr(body, "messages", None) or ())
    if num_messages > settings.max_messages:
        raise InvalidRequest(
            f"'messages' has {num_messages} entries, and the limit is {settings.max_messages}. Send fewer.",
            param="messages",
            hint="--max-messages is the limit",
        )
    for name in (*_OUTPUT_FORMATS, *_TOOLS):
        value = getattr(body, name, None)
        size = len(msgspec.json.encode(value)) if value is not None else 0
        if size > settings.max_schema_bytes:
            raise InvalidRequest(
                f"'{name}' has {size} bytes, and the limit is {settings.max_schema_bytes}. Send a smaller one.",
                param=name,
                hint="--max-schema-bytes is the limit",
            )
    _check_stops(getattr(body, "stop", None) or ())


def _check_stops(stop: str | Sequence[str]) -> None:
    """Long stop strings are expensive: every piece of output is compared with each of them."""
    stops = (stop,) if isinstance(stop, str) else stop
    for index, text in enumerate(stops):
        if len(text) > MAX_STOP:
            raise InvalidRequest(
                f"A stop string may have up to {MAX_STOP} characters, not {len(text)}.",
                param="stop" if isinstance(stop, str) else f"stop[{index}]",
                code="string_above_max_length",
            )
    total = sum(map(len, stops))
    if total > MAX_STOP_TOTAL:
        raise InvalidRequest(
            f"The stop strings may have up to {MAX_STOP_TOTAL} characters together, not {total}.", param="stop"
        )
