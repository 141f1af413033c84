"""What a body may hold that is small on the wire and dear to work on: messages, and forms to hold an answer to."""

from __future__ import annotations

import msgspec

from crossette.api.http import HttpSettings
from crossette.errors import InvalidRequest

_FORMS = ("response_format", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs")


def check_sizes(body: msgspec.Struct, settings: HttpSettings) -> None:
    """Raise InvalidRequest for too many messages, or for a form whose JSON is too large."""
    num_messages = len(getattr(body, "messages", ()))
    if num_messages > settings.max_messages:
        raise InvalidRequest(
            f"The conversation has {num_messages} messages, and {settings.max_messages} is the limit. "
            "Send fewer, or start the server with a larger --max-messages.",
            param="messages",
        )
    for name in _FORMS:
        form = getattr(body, name, None)
        size = len(msgspec.json.encode(form)) if form is not None else 0
        if size > settings.max_schema_bytes:
            raise InvalidRequest(
                f"'{name}' has {size} bytes, and {settings.max_schema_bytes} is the limit. "
                "Ask for a simpler form, or start the server with a larger --max-schema-bytes.",
                param=name,
            )
