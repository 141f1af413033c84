"""A program for instructor: answers in a pydantic model, by tools and by both ways to ask for JSON."""

# mypy: ignore-errors
# It runs in an environment of its own, with a client that mypy does not see.

import asyncio

import instructor
import openai
from asked import ASKED, messages, tell
from place import Place, River
from pydantic import field_validator
from tools_asked import ORDERS, TRIES

REFUSED = []


class ModernPlace(Place):
    """A place by its name of today"""

    @field_validator("name")
    @classmethod
    def _is_modern(cls, name):
        if name == "Genabum":
            REFUSED.append(name)
            raise ValueError("This was its name two thousand years ago. Say the one of today.")
        return name


class InstructorProgram:
    def __init__(self, base_url):
        self.base_url = base_url

    def scenarios(self):
        return {
            "json object": lambda: self.place("place", instructor.Mode.JSON),
            "typed answer": lambda: self.place("place", instructor.Mode.JSON_SCHEMA),
            "typed answer stream": lambda: self.streamed_place("place", instructor.Mode.JSON_SCHEMA),
            "typed answer, real model": self.real_typed_answers,
            "typed call": lambda: self.place("place call", instructor.Mode.TOOLS),
            "typed call stream": lambda: self.streamed_place("partial place call", instructor.Mode.TOOLS),
            "second try": self.second_try,
            "async": lambda: asyncio.run(self.asynchronous()),
        }

    def client(self, mode):
        return instructor.from_openai(openai.OpenAI(base_url=self.base_url, api_key="none"), mode=mode)

    def place(self, order, mode):
        return self.ask(self.client(mode).create, order, Place, max_retries=0).model_dump()

    def ask(self, create, order, kind, **more):
        return create(model=ASKED["model"], messages=messages(ORDERS[order]), response_model=kind, **more)

    def streamed_place(self, order, mode):
        """Each piece is what can be read so far; the last is the answer. A tool for it is named after that."""
        *_, said = self.ask(self.client(mode).create_partial, order, Place)
        return Place.model_validate(said.model_dump()).model_dump()

    def second_try(self):
        """The first answer is refused by the model's validator; the conversation goes on with the reason."""
        REFUSED.clear()
        said = self.ask(self.client(instructor.Mode.TOOLS).create, "second try", ModernPlace, max_retries=1)
        return {"refused": REFUSED, "said": said.model_dump()}

    async def asynchronous(self):
        async with openai.AsyncOpenAI(base_url=self.base_url, api_key="none") as sdk:
            client = instructor.from_openai(sdk, mode=instructor.Mode.TOOLS)
            whole = await self.ask(client.create, "place call", Place)
            pieces = [piece async for piece in self.ask(client.create_partial, "partial place call", Place)]
            return [whole.model_dump(), Place.model_validate(pieces[-1].model_dump()).model_dump()]

    def real_typed_answers(self):
        """How many of its answers were such objects, in each way to ask for them; JSON mode does not say which."""
        base_url = self.base_url.replace(ASKED["root"], ASKED["real_root"])
        asked = {"model": ASKED["real_model"], "messages": messages(ASKED["question"]), "temperature": 1}
        told = {}
        with openai.OpenAI(base_url=base_url, api_key="none") as sdk:
            for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS):
                create = instructor.from_openai(sdk, mode=mode).create
                said = [create(**asked, response_model=River, max_retries=0) for _ in range(TRIES)]
                told[mode.value] = sum(isinstance(river, River) for river in said)
        return told


tell(["/v1", "/inference/v1"], lambda base_url: InstructorProgram(base_url).scenarios())
