"""A program for the chat models and text models of langchain-openai and langchain-fireworks, whichever is there."""

# mypy: ignore-errors
# It runs in an environment of its own, with a client that mypy does not see.

import asyncio
from importlib.util import find_spec

from asked import ASKED, LIMITS, answer, messages, tell
from langchain_core.exceptions import ContextOverflowError
from langchain_tools import ToolScenarios

if find_spec("langchain_openai"):
    import openai as sdk
    from langchain_openai import ChatOpenAI as ChatModel
    from langchain_openai import OpenAI as TextModel

    TEXT_PATHS = {"/v1": "/v1", "/inference/v1": "/inference/v1"}
else:
    import fireworks as sdk
    from langchain_fireworks import ChatFireworks as ChatModel
    from langchain_fireworks import Fireworks as TextModel

    TEXT_PATHS = {
        "/inference": "/inference/v1/completions",
        "/inference/v1": "/inference/v1/completions",
        "": "/v1/completions",
    }

PROMPT = ASKED["prompt"]
SETTINGS = {"api_key": "none", "model": ASKED["model"]}


class Program:
    def __init__(self, base_url):
        self.base_url = base_url
        self.plain = ChatModel(base_url=base_url, **SETTINGS)
        self.chat = ChatModel(base_url=base_url, **SETTINGS, **LIMITS)
        text_url = ASKED["root"] + TEXT_PATHS[base_url.removeprefix(ASKED["root"])]
        self.text = TextModel(base_url=text_url, **SETTINGS, max_tokens=50)

    def scenarios(self):
        tools = ToolScenarios(self.plain, self.real(temperature=1)).scenarios()
        return self.common() | tools | (self.of_openai() if sdk.__name__ == "openai" else {})

    def of_openai(self):
        return {"usage on request": lambda: folded(self.chat.stream(PROMPT, stream_usage=True))}

    def common(self):
        return {
            "completion": lambda: self.text.invoke(PROMPT, stop=[ASKED["stop"]]),
            "completion stream": lambda: "".join(self.text.stream(PROMPT, stop=[ASKED["stop"]])),
            "chat": lambda: whole(self.chat.invoke(PROMPT)),
            "chat stream": lambda: folded(self.chat.stream(PROMPT)),
            "async": lambda: asyncio.run(self.asynchronous()),
            "batch": lambda: [said.content for said in self.plain.batch(["say: one", "say: two"])],
            "unknown model": lambda: self.refusal(sdk.NotFoundError, model="other"),
            "bad value": lambda: self.refusal(sdk.BadRequestError, temperature=3),
            "prompt too long": self.too_long,
            "retries": self.retries,
            "broken stream": self.broken_stream,
            "replayed message": self.replayed_message,
            "fields beyond the SDK": self.more_fields,
            "real model": self.real_model,
        }

    async def asynchronous(self):
        stream = [chunk async for chunk in self.chat.astream(PROMPT)]
        return [whole(await self.chat.ainvoke(PROMPT)), folded(stream)]

    def refusal(self, kind, **wrong):
        try:
            self.chat.invoke(PROMPT, **wrong)
        except kind as error:
            told = error.body.get("error", error.body)  # openai unwraps it
            return [error.status_code, told["code"], told["param"]]

    def too_long(self):
        """LangChain knows this error by its text, and raises its own."""
        try:
            self.chat.invoke(ASKED["long"])
        except ContextOverflowError as error:
            return type(error).__name__

    def retries(self):
        """All at once: between attempts this client waits for seconds."""
        said = self.plain.batch(list(ASKED["refused"].values()))
        return {status: answered.content for status, answered in zip(ASKED["refused"], said, strict=True)}

    def broken_stream(self):
        text = ""
        try:
            for chunk in self.plain.stream(ASKED["broken"]):
                text += chunk.content
        except sdk.APIError as error:
            return {"text": text, "code": error.code}
        return {"text": text, "code": "not raised"}

    def replayed_message(self):
        said = self.plain.invoke("say: first")
        return self.plain.invoke([*messages("say: first"), said, *messages("say: second")]).content

    def more_fields(self):
        more = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "include_stop_str_in_output": True}
        return self.chat.invoke(PROMPT, extra_body=more).content

    def real(self, **settings):
        base_url = self.base_url.replace(ASKED["root"], ASKED["real_root"])
        return ChatModel(base_url=base_url, api_key="none", model=ASKED["real_model"], **settings)

    def real_model(self):
        real = self.real(temperature=0, max_tokens=16)
        streamed = "".join(chunk.content for chunk in real.stream(ASKED["question"]))
        return [real.invoke(ASKED["question"]).content, streamed]


def whole(said):
    counts = said.usage_metadata and {
        "prompt_tokens": said.usage_metadata["input_tokens"],
        "completion_tokens": said.usage_metadata["output_tokens"],
    }
    return answer(said.content, said.response_metadata.get("finish_reason"), counts)


def folded(chunks):
    """LangChain's own fold: chunks are added."""
    chunks = list(chunks)
    return whole(sum(chunks[1:], start=chunks[0]))


tell(TEXT_PATHS, lambda base_url: Program(base_url).scenarios())
