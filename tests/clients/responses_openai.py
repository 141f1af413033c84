"""The Responses API with openai 3.x: synchronous and asynchronous."""

# mypy: ignore-errors
# It runs in an environment of its own, with another openai than the one that mypy sees.

import asyncio
import json
import sys

import openai
from openai import pydantic_function_tool
from pydantic import BaseModel

ASKED = json.loads(sys.argv[1])
HELLO, PLACE, CALL, TURNS = ASKED["hello"], ASKED["place"], ASKED["call"], ASKED["turns"]


class Place(BaseModel):
    city: str
    country: str


class Weather(BaseModel):
    """The weather in a city."""

    city: str


TOOL = pydantic_function_tool(Weather, name="weather")
"""As `parse` and `stream` take it."""


def tool():
    return {"type": "function", **TOOL["function"]}


def sync(base_url):
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    responses = client.responses
    say = {"model": "fake", "input": HELLO}
    with responses.stream(**say) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_response()
    with responses.stream(model="fake", input=CALL, tools=[TOOL]) as stream:
        called = stream.get_final_response().output[0]
    parsed = responses.parse(model="fake", input=PLACE, text_format=Place)
    return {
        "create": responses.create(**say).output_text,
        "stream": streamed.output_text,
        "last event": kinds[-1],
        "deltas": kinds.count("response.output_text.delta"),
        "parse": parsed.output_parsed.model_dump(),
        "call": [called.name, called.parsed_arguments.model_dump()],
        "loop": loop(responses),
        **stored(client),
    }


def loop(responses):
    """A call, and its output by the id of the response."""
    first = responses.create(model="fake", input=TURNS, tools=[tool()])
    (call,) = first.output
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    by_items = responses.create(model="fake", tools=[tool()], input=[{"role": "user", "content": TURNS}, call, output])
    by_id = responses.create(model="fake", tools=[tool()], input=[output], previous_response_id=first.id)
    return [by_items.output_text, by_id.output_text]


def stored(client):
    responses = client.responses
    made = responses.create(model="fake", input=HELLO, background=True)
    while made.status in ("queued", "in_progress"):
        made = responses.retrieve(made.id)
    listed = [item.type for item in responses.input_items.list(made.id)]
    counted = responses.input_tokens.count(model="fake", input=HELLO).input_tokens == made.usage.input_tokens
    responses.delete(made.id)
    try:
        responses.retrieve(made.id)
    except openai.NotFoundError as error:
        return {"background": made.output_text, "items": listed, "counted": counted, "deleted": error.code}


async def asynchronous(base_url):
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        made = await client.responses.create(model="fake", input=HELLO)
        async with client.responses.stream(model="fake", input=PLACE, text_format=Place) as stream:
            final = await stream.get_final_response()
        return [made.output_text, final.output_parsed.model_dump()]


def told(base_url):
    return {**sync(base_url), "async": asyncio.run(asynchronous(base_url))}


print(json.dumps({base: told(ASKED["root"] + base) for base in ("/v1", "/inference/v1")}))
