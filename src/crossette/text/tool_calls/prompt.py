"""Tools for models whose templates know none: a system message describes them, and the tags to call them with."""

from __future__ import annotations

import json
from collections.abc import Sequence

from crossette.text.template.messages import Message
from crossette.text.tool_calls.format import ToolFormat
from crossette.text.tool_calls.tools import Tool

_EXAMPLE = ("function-name", '{"parameter": "value"}')


def with_tools(messages: Sequence[Message], tools: Sequence[Tool], tool_format: ToolFormat) -> list[Message]:
    """The conversation, with the tools described in its system message, behind what that says already.

    Templates without system messages, and without calls and their results, get those by `text/template/messages.py`.
    """
    description = _description(tools, tool_format)
    if messages and messages[0]["role"] == "system":
        said = "\n\n".join(filter(None, [messages[0]["content"], description]))
        return [{**messages[0], "content": said}, *messages[1:]]
    return [{"role": "system", "content": description}, *messages]


def _description(tools: Sequence[Tool], tool_format: ToolFormat) -> str:
    listed = "\n".join(json.dumps(tool.described()["function"], ensure_ascii=False) for tool in tools)
    return (
        f"You can call these functions. Each line describes one, with a JSON schema of its parameters:\n{listed}\n\n"
        "If a function helps to answer, call it with exactly these marks, and wait for its result:\n"
        f"{tool_format.render([_EXAMPLE])}\n\n"
        "Otherwise answer in plain words."
    )
