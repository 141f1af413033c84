"""Functions as a program of 2023 knows them: `functions`, `function_call`, and results of the role `function`."""

# mypy: ignore-errors
# It runs in an environment of its own, with another openai than the one that mypy sees.

import json

import openai
from asked import ASKED, messages
from tools_asked import ORDERS, SCHEMAS, TOOLS, TRIES, called, is_weather

NAMED = {"name": "weather"}


class FunctionScenarios:
    """`base_url` and `real_url` are given with each request."""

    def __init__(self, base_url, real_url):
        self.base_url = base_url
        self.real_url = real_url

    def scenarios(self):
        return {
            "json object": self.json_object,
            "call": lambda: told(self.ask("call")["choices"][0]),
            "call stream": lambda: told(folded(self.ask("call", stream=True))),
            "tool choice": self.function_call,
            "tool choice, real model": self.real_function_call,
            "agent loop": lambda: self.loop("agent"),
            "agent loop stream": lambda: self.loop("agent", stream=True),
        }

    def ask(self, order, **more):
        return self.create(messages(ORDERS[order]), functions=SCHEMAS, **more)

    def create(self, turns, **more):
        asked = {"model": ASKED["model"], "api_base": self.base_url, "messages": turns, **more}
        return openai.ChatCompletion.create(**asked)

    def json_object(self):
        """This SDK has no name for it, and passes it on."""
        got = self.create(messages(ORDERS["place"]), response_format={"type": "json_object"})
        return json.loads(got["choices"][0]["message"]["content"])

    def function_call(self):
        """What it calls where the engine wants to answer in words; and where it wants to call, but may not."""
        return {
            "auto": self.names("words", "auto"),
            "none": self.names("call", "none"),
            "named": self.names("words", NAMED),
        }

    def names(self, order, choice):
        message = self.ask(order, function_call=choice, temperature=0)["choices"][0]["message"]
        return [name for name, _ in calls_of(message)]

    def real_function_call(self):
        """How many of its answers were such calls."""
        asked = {"functions": SCHEMAS, "function_call": NAMED, "temperature": 1, "n": TRIES}
        real = {"model": ASKED["real_model"], "api_base": self.real_url}
        choices = self.create(messages(ASKED["question"]), **asked, **real)["choices"]
        return sum(is_weather(calls_of(choice["message"])[0]) for choice in choices)

    def loop(self, order, *, stream=False):
        """Run functions until the model answers in words."""
        turns, ran = messages(ORDERS[order]), []
        while True:
            got = self.create(turns, functions=SCHEMAS, stream=stream)
            message = (folded(got) if stream else got["choices"][0])["message"]
            turns.append(message)
            if not message.get("function_call"):
                return {"calls": ran, "text": message["content"]}
            [(name, arguments)] = calls_of(message)
            ran.append([name, arguments])
            turns.append({"role": "function", "name": name, "content": TOOLS[name](**arguments)})


def calls_of(message):
    call = message.get("function_call")
    return [called(call["name"], call["arguments"])] if call else []


def told(choice):
    message = choice["message"]
    return {"text": message["content"], "calls": calls_of(message), "finish_reason": choice["finish_reason"]}


def folded(chunks):
    """A stream as its one choice, by joining what comes under each key of a delta."""
    message, reason = {"role": "", "content": ""}, None
    for chunk in chunks:
        choice = chunk["choices"][0]
        delta = choice["delta"]
        message["role"] += delta.get("role", "")
        message["content"] += delta.get("content") or ""
        for key, text in delta.get("function_call", {}).items():
            call = message.setdefault("function_call", {"name": "", "arguments": ""})
            call[key] += text
        reason = choice["finish_reason"] or reason
    return {"message": message, "finish_reason": reason}
