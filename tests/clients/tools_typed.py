"""Tools and forms, asked by the SDKs of OpenAI and of Fireworks alike."""

# mypy: ignore-errors
# It runs in environments of its own, with clients that mypy does not see.

import json

from asked import ASKED, messages
from place import Place, River
from tools_asked import OFFER, ORDERS, TOOLS, TRIES, called, is_weather

MODEL = ASKED["model"]
NAMED = {"type": "function", "function": {"name": "weather"}}


def form(kind):
    schema = {"name": kind.__name__, "schema": kind.model_json_schema(), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


class ToolScenarios:
    """`client` talks to the fake model, `real` to the real one. What is told is the same for each client."""

    def __init__(self, client, real):
        self.client = client
        self.real = real
        self.chat = client.chat.completions.create

    def scenarios(self):
        return {
            "json object": lambda: self.json_answer({"type": "json_object"}),
            "typed answer": lambda: self.json_answer(form(Place)),
            "typed answer stream": self.typed_answer_stream,
            "typed answer, real model": self.real_typed_answer,
            "call": self.call,
            "call stream": lambda: told_stream(self.ask("call", tools=OFFER, stream=True)),
            "calls at once": lambda: self.loop("calls"),
            "tool choice": self.tool_choice,
            "tool choice, real model": self.real_tool_choice,
            "agent loop": lambda: self.loop("agent"),
            "agent loop stream": lambda: self.loop("agent", stream=True),
        }

    def ask(self, order, **more):
        return self.chat(model=MODEL, messages=messages(ORDERS[order]), **more)

    def json_answer(self, wanted):
        return json.loads(self.ask("place", response_format=wanted).choices[0].message.content)

    def typed_answer_stream(self):
        return json.loads(told_stream(self.ask("place", response_format=form(Place), stream=True))["text"])

    def real_typed_answer(self):
        """How many of its answers were such objects."""
        got = self.ask_real(response_format=form(River), n=TRIES)
        return len([River.model_validate_json(choice.message.content) for choice in got.choices])

    def call(self):
        choice = self.ask("call", tools=OFFER).choices[0]
        return told(choice.message, choice.finish_reason)

    def tool_choice(self):
        """What it calls where the engine wants to answer in words; and where it wants to call, but may not."""
        return {
            "auto": self.names("words", "auto"),
            "none": self.names("call", "none"),
            "required": len(self.names("words", "required")),
            "named": self.names("words", NAMED),
        }

    def names(self, order, choice):
        said = self.ask(order, tools=OFFER, tool_choice=choice, temperature=0).choices[0].message
        return [call.function.name for call in said.tool_calls or ()]

    def real_tool_choice(self):
        """How many of its answers were such calls."""
        got = self.ask_real(tools=OFFER, tool_choice=NAMED, n=TRIES)
        calls = [calls_of(choice.message.to_dict()) for choice in got.choices]
        return sum(len(made) == 1 and is_weather(made[0]) for made in calls)

    def ask_real(self, **more):
        asked = {"model": ASKED["real_model"], "messages": messages(ASKED["question"]), "temperature": 1, **more}
        return self.real.chat.completions.create(**asked)

    def loop(self, order, *, stream=False):
        """Run tools until the model answers in words."""
        turns, ran = messages(ORDERS[order]), []
        while True:
            message = self.next_message(turns, stream=stream)
            turns.append(message)
            said = message if isinstance(message, dict) else message.to_dict()
            if not said.get("tool_calls"):
                return {"calls": ran, "text": said["content"]}
            for call, made in zip(said["tool_calls"], calls_of(said), strict=True):
                name, arguments = made
                ran.append(made)
                turns.append({"role": "tool", "tool_call_id": call["id"], "content": TOOLS[name](**arguments)})

    def next_message(self, turns, *, stream):
        """As the SDK's own object, or folded as programs do it who know the wire."""
        got = self.chat(model=MODEL, messages=turns, tools=OFFER, stream=stream)
        return folded_message(got)[0] if stream else got.choices[0].message


def calls_of(message):
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return [called(call["name"], call["arguments"]) for call in calls]


def told(message, reason):
    """A message of the SDK, as all programs tell it."""
    return {"text": message.content, "calls": calls_of(message.to_dict()), "finish_reason": reason}


def told_stream(chunks):
    message, reason = folded_message(chunks)
    return {"text": message["content"], "calls": calls_of(message), "finish_reason": reason}


def folded_message(chunks):
    """A stream as one message, and its finish reason. A call's id, type and name are said once, in its first piece."""
    text, calls, reasons = "", [], []
    for chunk in chunks:
        for choice in chunk.choices or ():
            text += choice.delta.content or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
            for piece in choice.delta.tool_calls or ():
                if piece.index == len(calls):
                    calls.append({"id": piece.id, "type": piece.type, "function": {"name": "", "arguments": ""}})
                function = calls[piece.index]["function"]
                function["name"] += piece.function.name or ""
                function["arguments"] += piece.function.arguments or ""
    [reason] = reasons
    assert all(call["id"] and call["type"] == "function" for call in calls), calls
    assert len({call["id"] for call in calls}) == len(calls), calls
    return {"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})}, reason
