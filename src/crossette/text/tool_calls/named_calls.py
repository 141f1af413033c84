"""Calls as a name between tags and a JSON object: newer Mistral, DeepSeek, Kimi, gpt-oss."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crossette.text.json_reader import json_text
from crossette.text.reader import Malformed, Reader, Reading
from crossette.text.tool_calls.format import Calls, ToolFormat

_MAX_HEADER = 256
"""The most characters from the opening tag to the arguments: names have up to 64, tags fewer."""


@dataclass(frozen=True, kw_only=True)
class NamedCalls(ToolFormat):
    """Every call has its own opening tag. Tags around all calls are layout."""

    header: re.Pattern[str]
    """The text from the opening tag to the `{` of the arguments, with the group `name`."""
    closing: str = ""
    """The tag after the arguments, apart from white space."""

    def read(self, reader: Reader, calls: Calls) -> Reading[None]:
        header = yield from reader.until("{", _MAX_HEADER)
        found = self.header.fullmatch(header)
        if found is None:
            raise Malformed
        yield calls.start(found["name"])
        reader.release()
        yield from json_text(reader, calls.arguments)
        reader.hold()
        yield from reader.space()
        if self.closing:
            yield from reader.need(self.closing, cut=True)
