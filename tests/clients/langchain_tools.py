"""Tools and forms, asked by LangChain's chat models: `bind_tools` and `with_structured_output`."""

# mypy: ignore-errors
# It runs in environments of its own, with clients that mypy does not see.

from typing import Annotated, Literal

import tools_asked
from asked import ASKED, messages
from langchain_core.tools import tool
from place import Place, River
from pydantic import Field
from tools_asked import ORDERS, TRIES, called, is_weather


@tool
def capital_of(country: str) -> str:
    """The capital of a country"""
    return tools_asked.capital_of(country)


@tool
def weather(city: Annotated[str, Field(max_length=40)], unit: Literal["celsius", "fahrenheit"]) -> str:
    """The temperature in a city"""
    return tools_asked.weather(city, unit)


TOOLS = {"capital_of": capital_of, "weather": weather}
NAMED = {"type": "function", "function": {"name": "weather"}}


class ToolScenarios:
    """`chat` talks to the fake model, `real` to the real one, at temperature 1."""

    def __init__(self, chat, real):
        self.chat = chat
        self.real = real
        self.tools = chat.bind_tools(list(TOOLS.values()))

    def scenarios(self):
        return {
            "json object": lambda: self.place("place", "json_mode"),
            "typed answer": lambda: self.place("place", "json_schema"),
            "typed answer stream": lambda: self.streamed_place("place", "json_schema"),
            "typed answer, real model": self.real_typed_answers,
            "typed call": lambda: self.place("place call", "function_calling"),
            "typed call stream": lambda: self.streamed_place("place call", "function_calling"),
            "call": lambda: told(self.tools.invoke(ORDERS["call"])),
            "call stream": lambda: told(joined(self.tools.stream(ORDERS["call"]))),
            "calls at once": lambda: self.loop("calls", self.tools.invoke),
            "tool choice": self.tool_choice,
            "tool choice, real model": self.real_tool_choice,
            "agent loop": lambda: self.loop("agent", self.tools.invoke),
            "agent loop stream": lambda: self.loop("agent", lambda turns: joined(self.tools.stream(turns))),
        }

    def place(self, order, method):
        said = self.chat.with_structured_output(Place, method=method).invoke(ORDERS[order])
        assert isinstance(said, Place)
        return said.model_dump()

    def streamed_place(self, order, method):
        """Each piece is what can be read so far; the last is the answer."""
        *_, said = self.chat.with_structured_output(Place, method=method).stream(ORDERS[order])
        return Place.model_validate(said).model_dump()

    def real_typed_answers(self):
        """How many of its answers were such objects, in each way to ask for them; JSON mode does not say which."""
        told = {}
        for method in ("json_schema", "function_calling"):
            said = self.real.with_structured_output(River, method=method).batch([ASKED["question"]] * TRIES)
            told[method] = sum(isinstance(river, River) for river in said)
        return told

    def tool_choice(self):
        """What it calls where the engine wants to answer in words; and where it wants to call, but may not.

        A name is spelled as LangChain spells names, and as the API does.
        """
        named = self.names("words", "weather")
        assert named == self.names("words", NAMED)
        return {
            "auto": self.names("words", "auto"),
            "none": self.names("call", "none"),
            "required": len(self.names("words", "any")),
            "named": named,
        }

    def names(self, order, choice):
        bound = self.chat.bind_tools(list(TOOLS.values()), tool_choice=choice)
        return [call["name"] for call in bound.invoke(ORDERS[order], temperature=0).tool_calls]

    def real_tool_choice(self):
        """How many of its answers were such calls."""
        bound = self.real.bind_tools(list(TOOLS.values()), tool_choice="weather")
        calls = [told(said)["calls"] for said in bound.batch([ASKED["question"]] * TRIES)]
        return sum(len(made) == 1 and is_weather(made[0]) for made in calls)

    def loop(self, order, ask):
        """Run tools until the model answers in words."""
        turns, ran = messages(ORDERS[order]), []
        while (said := ask(turns)).tool_calls:
            turns.append(said)
            for call in said.tool_calls:
                ran.append(called(call["name"], call["args"]))
                turns.append(TOOLS[call["name"]].invoke(call))
        return {"calls": ran, "text": said.content}


def told(said):
    calls = [called(call["name"], call["args"]) for call in said.tool_calls]
    assert not said.invalid_tool_calls
    return {"text": said.content, "calls": calls, "finish_reason": said.response_metadata["finish_reason"]}


def joined(chunks):
    """LangChain's own fold: chunks are added."""
    first, *rest = chunks
    return sum(rest, start=first)
