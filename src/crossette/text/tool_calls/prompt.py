"""Tools for templates without tools: a system message that describes the tools and the call format."""

from __future__ import annotations

import json
from collections.abc import Sequence

from crossette.text.template.messages import Message
from crossette.text.tool_calls.format import ToolFormat
from crossette.text.tool_calls.tools import Tool

_EXAMPLE = ("function-name", '{"parameter": "value"}')


def with_tools(messages: Sequence[Message], tools: Sequence[Tool], tool_format: ToolFormat) -> list[Message]:
    """Add a description of the tools to the conversation's system message, after its own text.

    `text/template/messages.py` handles templates without system messages, calls or tool results.
    """
    description = _description(tools, tool_format)
    if messages and messages[0]["role"] == "system":
        content = "\n\n".join(filter(None, [messages[0]["content"], description]))
        return [{**messages[0], "content": content}, *messages[1:]]
    return [{"role": "system", "content": description}, *messages]


def _description(tools: Sequence[Tool], tool_format: ToolFormat) -> str:
    listed = "\n".join(json.dumps(tool.described()["function"], ensure_ascii=False) for tool in tools)
    return (
        f"You can call these functions. Each line describes one, with a JSON schema of its parameters:\n{listed}\n\n"
        "If a function helps to answer, call it with exactly these marks, and wait for its result:\n"
        f"{tool_format.render([_EXAMPLE])}\n\n"
        "Otherwise answer in plain words."
    )
