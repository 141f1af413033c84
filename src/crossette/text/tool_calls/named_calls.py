"""Calls that are a name between markers and then a JSON object: newer Mistral, DeepSeek, Kimi, gpt-oss."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crossette.text.json_reader import json_text
from crossette.text.reader import Malformed, Reader, Reading
from crossette.text.tool_calls.format import Calls, ToolFormat

_MAX_HEADER = 256
"""Characters from the opening to the arguments: names have 64, markers less."""


@dataclass(frozen=True, kw_only=True)
class NamedCalls(ToolFormat):
    """Several calls are several openings: markers around all of them are layout."""

    header: re.Pattern[str]
    """All from the opening to the arguments' `{`, with the group `name`."""
    closing: str = ""
    """What stands behind the arguments, white space apart."""

    def read(self, reader: Reader, calls: Calls) -> Reading[None]:
        header = yield from reader.until("{", _MAX_HEADER)
        found = self.header.fullmatch(header)
        if found is None:
            raise Malformed
        yield calls.head(found["name"])
        reader.release()
        yield from json_text(reader, calls.arguments)
        reader.hold()
        yield from reader.space()
        if self.closing:
            yield from reader.need(self.closing, cut=True)
