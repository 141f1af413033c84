"""What the SDK of OpenAI has for tools and forms beyond plain requests: `parse`, and `stream` with its accumulator."""

# mypy: ignore-errors
# It runs in environments of its own, with another openai than the one that mypy sees.

from typing import Literal

import openai
from asked import ASKED, messages
from place import Place, River
from pydantic import BaseModel, Field
from tools_asked import ORDERS, TRIES
from tools_typed import MODEL, ToolScenarios, told


class capital_of(BaseModel):  # its name is the tool's
    """The capital of a country"""

    country: str


class weather(BaseModel):  # its name is the tool's
    """The temperature in a city"""

    city: str = Field(max_length=40)
    unit: Literal["celsius", "fahrenheit"]


TYPED = [openai.pydantic_function_tool(tool) for tool in (capital_of, weather)]


class OpenAIToolScenarios(ToolScenarios):
    def __init__(self, client, real):
        super().__init__(client, real)
        self.parse = client.chat.completions.parse
        self.joined = client.chat.completions.stream

    def scenarios(self):
        own = {
            "typed answer": self.typed_answer,
            "typed call": self.typed_call,
            "typed call stream": self.typed_call_stream,
            "call stream joined": self.joined_call_stream,
        }
        return super().scenarios() | own

    def typed_answer(self):
        asked = {"model": MODEL, "messages": messages(ORDERS["place"]), "response_format": Place}
        parsers = [self.parse, self.client.beta.chat.completions.parse]  # the second is older
        parsed, again = [parse(**asked).choices[0].message.parsed for parse in parsers]
        assert parsed == again and isinstance(parsed, Place)
        return parsed.model_dump()

    def typed_answer_stream(self):
        """Each piece brings what can be read so far; what it is at the end is the answer."""
        seen = []
        with self.joined(model=MODEL, messages=messages(ORDERS["place"]), response_format=Place) as stream:
            for event in stream:
                seen += [event.parsed] if event.type == "content.delta" else []
            parsed = stream.get_final_completion().choices[0].message.parsed
        assert isinstance(parsed, Place) and seen[-1] == parsed.model_dump(), seen[-1]
        return parsed.model_dump()

    def typed_call(self):
        asked = {"model": MODEL, "messages": messages(ORDERS["place call"])}
        got = self.parse(**asked, tools=[openai.pydantic_function_tool(Place)], tool_choice="required")
        [call] = got.choices[0].message.tool_calls
        assert isinstance(call.function.parsed_arguments, Place)
        return call.function.parsed_arguments.model_dump()

    def typed_call_stream(self):
        asked = {"model": MODEL, "messages": messages(ORDERS["place call"])}
        with self.joined(**asked, tools=[openai.pydantic_function_tool(Place)]) as stream:
            [call] = stream.get_final_completion().choices[0].message.tool_calls
        assert isinstance(call.function.parsed_arguments, Place)
        return call.function.parsed_arguments.model_dump()

    def joined_call_stream(self):
        """The accumulator's events agree with what it makes of them."""
        text, pieces, done = "", "", []
        with self.joined(model=MODEL, messages=messages(ORDERS["call"]), tools=TYPED) as stream:
            for event in stream:
                if event.type == "content.delta":
                    text += event.delta
                elif event.type == "tool_calls.function.arguments.delta":
                    assert (event.index, event.name) == (0, "weather")
                    pieces += event.arguments_delta
                elif event.type == "tool_calls.function.arguments.done":
                    done.append(event)
            choice = stream.get_final_completion().choices[0]
        [event] = done
        assert pieces == event.arguments and isinstance(event.parsed_arguments, weather)
        assert choice.message.content == text
        return told(choice.message, choice.finish_reason)

    def real_typed_answer(self):
        parse = self.real.chat.completions.parse
        got = parse(model=ASKED["real_model"], messages=messages(ASKED["question"]), response_format=River, n=TRIES)
        return sum(isinstance(choice.message.parsed, River) for choice in got.choices)

    def next_message(self, turns, *, stream):
        """Its own object: parsed, as `parse` and `stream` leave it, it is sent back with what they added."""
        asked = {"model": MODEL, "messages": turns, "tools": TYPED}
        if not stream:
            return self.parse(**asked).choices[0].message
        with self.joined(**asked) as joined:
            return joined.get_final_completion().choices[0].message
