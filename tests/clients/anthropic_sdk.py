"""A program for anthropic: its base URL is the server's root, or that with /inference; it adds /v1/messages."""

# mypy: ignore-errors
# It runs in an environment of its own, with a client that mypy does not see.

import asyncio
import os

import anthropic
from asked import ASKED, messages, tell
from place import Place
from tools_asked import ORDERS, SCHEMAS, TOOLS

MODEL = ASKED["model"]
GIVEN = {"model": MODEL, "max_tokens": 200}
OFFER = [
    {"name": schema["name"], "description": schema["description"], "input_schema": schema["parameters"]}
    for schema in SCHEMAS
]
STATUS_CLASSES = {
    "400": (anthropic.BadRequestError, {"max_tokens": 0}),
    "404": (anthropic.NotFoundError, {"model": "other"}),
}


class Program:
    def __init__(self, base_url):
        self.base_url = base_url
        self.client = anthropic.Anthropic(base_url=base_url, api_key="none")
        self.create = self.client.messages.create

    def scenarios(self):
        return {
            "message": lambda: told(self.create(messages=messages(ASKED["prompt"]), **GIVEN)),
            "stream": lambda: self.streamed(messages=messages(ASKED["prompt"]), **GIVEN),
            "raw stream": self.raw_stream,
            "async": lambda: asyncio.run(self.asynchronous()),
            "stop sequence": lambda: told(
                self.create(messages=messages(ASKED["prompt"]), stop_sequences=[ASKED["stop"]], **GIVEN)
            ),
            "count": self.count,
            "agent loop": lambda: self.loop("agent"),
            "agent loop stream": lambda: self.loop("agent", stream=True),
            "calls at once": lambda: self.loop("calls"),
            "typed answer": self.typed,
            "thinking": lambda: self.thinking(stream=False),
            "thinking stream": lambda: self.thinking(stream=True),
            "errors": self.errors,
            "retries": lambda: [
                text_of(self.create(messages=messages(text), **GIVEN)) for text in ASKED["refused"].values()
            ],
            "broken stream": self.broken_stream,
            "real model": self.real_model,
            "environment variables": self.environment_variables,
        }

    def streamed(self, **sent):
        with self.client.messages.stream(**sent) as stream:
            text = "".join(stream.text_stream)
            message = stream.get_final_message()
        assert text == text_of(message)
        assert stream.request_id == message.id
        return told(message)

    def raw_stream(self):
        events = [event.type for event in self.create(messages=messages("say: a"), stream=True, **GIVEN)]
        return list(dict.fromkeys(events))

    async def asynchronous(self):
        async with anthropic.AsyncAnthropic(base_url=self.base_url, api_key="none") as client:
            whole = await client.messages.create(messages=messages(ASKED["prompt"]), **GIVEN)
            async with client.messages.stream(messages=messages(ASKED["prompt"]), **GIVEN) as stream:
                return [told(whole), told(await stream.get_final_message())]

    def count(self):
        sent = {"messages": messages(ASKED["prompt"]), "tools": OFFER}
        counted = self.client.messages.count_tokens(model=MODEL, **sent).input_tokens
        return counted == self.create(**sent, **GIVEN).usage.input_tokens

    def loop(self, order, *, stream=False):
        """Run tools until the model answers in words."""
        turns, ran = messages(ORDERS[order]), []
        while True:
            if stream:
                with self.client.messages.stream(messages=turns, tools=OFFER, **GIVEN) as open_stream:
                    message = open_stream.get_final_message()
            else:
                message = self.create(messages=turns, tools=OFFER, **GIVEN)
            turns.append({"role": "assistant", "content": message.content})
            calls = [block for block in message.content if block.type == "tool_use"]
            assert (message.stop_reason == "tool_use") == bool(calls)
            if not calls:
                return {"calls": ran, "text": text_of(message)}
            ran += [[call.name, call.input] for call in calls]
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": TOOLS[call.name](**call.input)}
                for call in calls
            ]
            turns.append({"role": "user", "content": results})

    def typed(self):
        got = self.client.messages.parse(messages=messages(ORDERS["place"]), output_format=Place, **GIVEN)
        return got.parsed_output.model_dump()

    def thinking(self, *, stream):
        client = anthropic.Anthropic(base_url=self.base_url.replace(ASKED["root"], ASKED["reasoner"]), api_key="none")
        sent = {"model": MODEL, "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
        turns = messages("Hi")
        for _ in range(2):  # the second time with what it thought
            if stream:
                with client.messages.stream(messages=turns, **sent) as open_stream:
                    message = open_stream.get_final_message()
            else:
                message = client.messages.create(messages=turns, **sent)
            turns += [{"role": "assistant", "content": message.content}, *messages("Go on")]
        thinking, text = message.content
        assert thinking.signature
        return [thinking.thinking, text.text]

    def errors(self):
        """The class of each status, in an answer and in a stream, and the id that it has."""
        seen = []
        for status, (kind, wrong) in STATUS_CLASSES.items():
            for stream in (False, True):
                try:
                    self.create(**{**GIVEN, "messages": messages("a"), "stream": stream, **wrong})
                except kind as error:
                    assert error.request_id == error.body["request_id"]
                    seen.append([status, error.type])
        return seen

    def broken_stream(self):
        said = ""
        try:
            with self.client.messages.stream(messages=messages(ASKED["broken"]), **GIVEN) as stream:
                for text in stream.text_stream:
                    said += text
        except anthropic.APIStatusError as error:
            return {"text": said, "type": error.type}

    def real_model(self):
        base_url = self.base_url.replace(ASKED["root"], ASKED["real_root"])
        client = anthropic.Anthropic(base_url=base_url, api_key="none")
        sent = {"model": ASKED["real_model"], "messages": messages(ASKED["question"]), "system": "Be brief."}
        greedy = {"temperature": 0}  # this SDK has no argument for it
        with client.messages.stream(max_tokens=30, extra_body=greedy, **sent) as stream:
            message = stream.get_final_message()
        counted = client.messages.count_tokens(**sent).input_tokens
        usage = message.usage
        assert counted == usage.input_tokens + usage.cache_read_input_tokens
        return text_of(message)

    def environment_variables(self):
        os.environ |= {"ANTHROPIC_BASE_URL": self.base_url, "ANTHROPIC_AUTH_TOKEN": "none"}
        message = anthropic.Anthropic().messages.create(messages=messages("say: hi"), **GIVEN)
        return text_of(message)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def told(message):
    usage = [message.usage.input_tokens, message.usage.output_tokens]
    return {"text": text_of(message), "stop": [message.stop_reason, message.stop_sequence], "usage": usage}


tell(["", "/inference"], lambda base_url: Program(base_url).scenarios())
