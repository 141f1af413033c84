"""A program for the messages of fireworks-ai: it sends them to /v1/messages under its base URL."""

# mypy: ignore-errors
# It runs in an environment of its own, with a client that mypy does not see.

import fireworks
from asked import ASKED, messages, tell
from tools_asked import ORDERS, SCHEMAS

GIVEN = {"model": ASKED["model"], "max_tokens": 200}
TOOL = {"name": "weather", "input_schema": SCHEMAS[1]["parameters"]}


def scenarios(base_url):
    client = fireworks.Fireworks(base_url=base_url, api_key="none")
    create = client.messages.create

    def message():
        got = create(messages=messages(ASKED["prompt"]), stop_sequences=[ASKED["stop"]], **GIVEN)
        return [got.content[0].text, got.stop_reason, got.stop_sequence, got.usage["input_tokens"]]

    def call():
        got = create(messages=messages(ORDERS["call"]), tools=[TOOL], **GIVEN)
        return [[block.name, block.input] for block in got.content if block.type == "tool_use"]

    def stream():
        """Its `stream` has no type of its own: the SDK returns the text of the events."""
        sent = {"messages": messages("say: a"), "stream": True, **GIVEN}
        with client.messages.with_streaming_response.create(**sent) as got:
            lines = list(got.iter_lines())
        return [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]

    def error():
        try:
            create(messages=messages("a"), **{**GIVEN, "model": "other"})
        except fireworks.NotFoundError as refusal:
            return refusal.body["error"]["type"]

    return {"message": message, "call": call, "stream": stream, "error": error}


tell(["/inference", "/inference/v1", ""], scenarios)
