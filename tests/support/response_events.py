"""The events of a streamed response: decoded, checked for their order, and accumulated as clients do."""

from __future__ import annotations

import json
from typing import Any

_LAST = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
_TEXTS = {
    "response.output_text": ("content", "text"),
    "response.reasoning_text": ("content", "text"),
    "response.reasoning_summary_text": ("summary", "text"),
    "response.function_call_arguments": (None, "arguments"),
}
"""The list of parts, and the key, that the deltas of a kind of event extend."""
_PARTS = {"response.content_part": "content", "response.reasoning_summary_part": "summary"}


def response_events(stream: bytes) -> list[Any]:
    """The events of a complete stream. Fails unless each has the name of its type, and the numbers have no gap."""
    *frames, rest = stream.split(b"\n\n")
    assert rest == b""
    events = []
    for frame in frames:
        if frame != b":":
            name, data = frame.split(b"\n")
            events.append(json.loads(data.removeprefix(b"data: ")))
            assert name == f"event: {events[-1]['type']}".encode()
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def accumulated(events: list[Any]) -> Any:
    """The response that the events tell. Fails unless they are in order, and what is done equals its deltas."""
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert all(event["response"]["output"] == [] for event in events[:2])
    response = events[-1]["response"]
    assert {event["response"]["id"] for event in (*events[:2], events[-1])} == {response["id"]}
    assert response["status"] == _LAST[events[-1]["type"]]
    items: list[Any] = []
    done: set[int] = set()
    for event in events[2:-1]:
        _apply(event, items, done)
    if response["status"] != "failed":
        assert done == set(range(len(items)))
        assert items == response["output"]
    return response


def _apply(event: Any, items: list[Any], done: set[int]) -> None:
    kind, _, step = event["type"].rpartition(".")
    index = event["output_index"]
    assert index not in done
    if kind == "response.output_item":
        item = event["item"]
        if step == "added":
            assert (index, item["status"]) == (len(items), "in_progress")
            items.append(item)
        else:
            assert _without(item, "status", "encrypted_content") == _without(items[index], "status")
            assert item["status"] in ("completed", "incomplete")
            items[index] = item
            done.add(index)
        return
    item = items[index]
    assert event["item_id"] == item["id"]
    if kind in _PARTS:
        _apply_part(event, item[_PARTS[kind]], step)
        return
    parts, key = _TEXTS[kind]
    target = item if parts is None else item[parts][event.get("content_index", event.get("summary_index"))]
    if step == "delta":
        assert event["delta"]
        target[key] += event["delta"]
        if "logprobs" in event:
            target["logprobs"] += event["logprobs"]
    else:
        assert event[key] == target[key]
        assert event.get("logprobs") == target.get("logprobs")
        assert event.get("name") == item.get("name")


def _apply_part(event: Any, parts: list[Any], step: str) -> None:
    index = event.get("content_index", event.get("summary_index"))
    if step == "added":
        assert index == len(parts)
        assert event["part"]["text"] == ""
        parts.append(event["part"])
    else:
        assert event["part"] == parts[index]


def _without(item: Any, *keys: str) -> Any:
    return {key: value for key, value in item.items() if key not in keys}


def without_ids(response: Any) -> Any:
    """A response as two requests for it have in common: no ids, no times."""
    output = [_without(item, "id", "call_id") for item in response["output"]]
    return {**_without(response, "id", "created_at", "completed_at"), "output": output}
