"""Requests for /messages, and their streams folded as Anthropic's SDKs do it."""

from __future__ import annotations

import json
from typing import Any

TOOL_USE_ID = "toolu_"


def message_body(content: object = "Hi", **sent: object) -> dict[str, Any]:
    return {"model": "fake", "max_tokens": 200, "messages": [{"role": "user", "content": content}], **sent}


def named_events(content: bytes) -> list[dict[str, Any]]:
    """The data of a stream's events, whose names are checked."""
    decoded = []
    for frame in content.split(b"\n\n"):
        if not frame or frame.startswith(b":"):
            continue
        name, data = frame.split(b"\n")
        decoded.append(json.loads(data.removeprefix(b"data: ")))
        assert name == b"event: " + decoded[-1]["type"].encode()
    return [event for event in decoded if event["type"] != "ping"]


def folded(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The message of a stream. Checks the order of its events: each block begins, continues and ends by itself."""
    first, *blocks, delta, last = events
    assert (first["type"], delta["type"], last) == ("message_start", "message_delta", {"type": "message_stop"})
    message: dict[str, Any] = first["message"]
    assert (message["content"], message["stop_reason"], message["stop_sequence"]) == ([], None, None)
    is_open, inputs = False, ""
    for event in blocks:
        if event["type"] == "content_block_start":
            assert not is_open
            assert event["index"] == len(message["content"])
            message["content"].append(event["content_block"])
            is_open, inputs = True, ""
            continue
        assert is_open
        assert event["index"] == len(message["content"]) - 1
        block = message["content"][-1]
        if event["type"] == "content_block_stop":
            is_open = False
            block |= {"input": json.loads(inputs)} if inputs and _is_json(inputs) else {}
        else:
            assert event["type"] == "content_block_delta"
            inputs += _add(block, event["delta"])
    assert not is_open
    message |= delta["delta"]
    message["usage"] |= delta["usage"]
    return message | ({"raw_output": delta["raw_output"]} if "raw_output" in delta else {})


def _add(block: dict[str, Any], delta: dict[str, Any]) -> str:
    """Add a delta to its block, and return its JSON."""
    name = {
        "text_delta": "text",
        "thinking_delta": "thinking",
        "signature_delta": "signature",
        "input_json_delta": "partial_json",
    }[delta["type"]]
    assert delta.keys() == {"type", name}
    if name == "partial_json":
        assert block["input"] == {}
        return str(delta[name])
    block[name] += delta[name]
    return ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what differs in each answer, whose form is checked."""
    assert message.pop("id").startswith("msg_")
    for block in message["content"]:
        assert block["type"] != "tool_use" or block.pop("id").startswith(TOOL_USE_ID)
    return message
