"""Requests of clients with tools and response formats, the engine's output, and the expected results."""

from __future__ import annotations

import json
from typing import Any

from support.api_server import in_turns, say

Promises = dict[str, Any]

PLACE: dict[str, Any] = {
    "name": "Orléans",
    "kind": "city",
    "rivers": [{"name": "Loire", "km": 1006}, {"name": "Loiret", "km": 12}],
    "twin": None,
}
"""An object of the type that programs request: nested, with an enum, a list, numbers and a null."""

CAPITAL = {"country": "Côte d'Ivoire"}
WEATHER = {"city": "Yamoussoukro", "unit": "celsius"}
"""The arguments of the two tools."""


def _call(name: str, arguments: object) -> str:
    return f"<tool_call>\n{_json({'name': name, 'arguments': arguments})}\n</tool_call>"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


ORDERS = {
    "words": say("no call today"),
    "place": say(_json(PLACE)),
    "place call": say(_call("Place", PLACE)),
    "partial place call": say(_call("PartialPlace", PLACE)),
    "second try": in_turns(_call("ModernPlace", {**PLACE, "name": "Genabum"}), _call("ModernPlace", PLACE)),
    "call": in_turns(f"Let me look.\n{_call('weather', WEATHER)}", "It is $1 degrees."),
    "calls": in_turns(f"{_call('capital_of', CAPITAL)}\n{_call('weather', WEATHER)}", "$1, and $2 degrees."),
    "agent": in_turns(
        _call("capital_of", CAPITAL), _call("weather", {**WEATHER, "city": "$1"}), "It is $2 degrees in $1."
    ),
}
"""The messages that programs send, named after the engine's output."""

_CALLS = [["capital_of", CAPITAL], ["weather", WEATHER]]


def promises(reason: str = "tool_calls") -> Promises:
    """The expected results of every client, in either dialect. `reason` is the finish reason of answers with calls."""
    call = {"text": "Let me look.", "calls": [["weather", WEATHER]], "finish_reason": reason}
    agent = {"calls": _CALLS, "text": "It is 31 degrees in Yamoussoukro."}
    return {
        "json object": PLACE,
        "typed answer": PLACE,
        "typed answer stream": PLACE,
        "typed answer, real model": 2,
        "typed call": PLACE,
        "typed call stream": PLACE,
        "second try": {"refused": ["Genabum"], "said": PLACE},
        "call": call,
        "call stream": call,
        "call stream joined": call,
        "calls at once": {"calls": _CALLS, "text": "Yamoussoukro, and 31 degrees."},
        "tool choice": {"auto": [], "none": [], "required": 1, "named": ["weather"]},
        "tool choice, real model": 2,
        "agent loop": agent,
        "agent loop stream": agent,
    }
