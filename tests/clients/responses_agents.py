"""openai-agents with its default model type, the Responses API: a tool loop, a stream, and a typed answer."""

# mypy: ignore-errors
# It runs in an environment of its own.

import asyncio
import json
import sys

from agents import Agent, OpenAIResponsesModel, Runner, SQLiteSession, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel

ASKED = json.loads(sys.argv[1])


class Place(BaseModel):
    city: str
    country: str


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def told(base_url):
    client = AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0)
    model = OpenAIResponsesModel(model="fake", openai_client=client)
    agent = Agent(name="helper", instructions="Be brief.", model=model, tools=[weather])
    placed = Agent(name="placer", model=model, output_type=Place)
    loop = await Runner.run(agent, ASKED["turns"])
    streamed = Runner.run_streamed(agent, ASKED["turns"])
    async for _ in streamed.stream_events():
        pass
    first = await Runner.run(agent, ASKED["hello"])
    by_id = await Runner.run(agent, ASKED["turns"], previous_response_id=first.last_response_id)
    session = SQLiteSession("one")
    await Runner.run(agent, ASKED["hello"], session=session)
    again = await Runner.run(agent, ASKED["turns"], session=session)
    return {
        "loop": loop.final_output,
        "stream": streamed.final_output,
        "typed": (await Runner.run(placed, ASKED["place"])).final_output.model_dump(),
        "by id": by_id.final_output,
        "session": again.final_output,
    }


async def main():
    set_tracing_disabled(True)
    bases = ("/v1", "/inference/v1")
    print(json.dumps({base: await told(ASKED["root"] + base) for base in bases}))


asyncio.run(main())
