"""A program for openai 1.x and 3.x."""

# mypy: ignore-errors
# It runs in environments of its own, with another openai than the one that mypy sees.

import openai
from asked import ASKED, LIMITS, messages, tell
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject
from openai_parse import OpenAIToolScenarios
from stainless import MODEL, PROMPT, STREAM_OF_USAGE, Program, folded, text_of

TYPES = {
    "chat": ChatCompletion,
    "chat chunks": ChatCompletionChunk,
    "completion": Completion,
    "completion chunks": Completion,
    "model": Model,
    "error": ErrorObject,
}


class OpenAIProgram(Program):
    def __init__(self, base_url):
        super().__init__(base_url, openai, openai.OpenAI, openai.AsyncOpenAI, TYPES, {"logprobs": 2})

    def scenarios(self):
        own = {"usage on request": self.usage_on_request, "models": self.models}
        return super().scenarios() | own | OpenAIToolScenarios(self.client, self.real()).scenarios()

    def usage_on_request(self):
        asked = {"model": MODEL, **STREAM_OF_USAGE, **LIMITS}
        return [
            folded(self.complete(prompt=PROMPT, **asked)),
            folded(self.chat(messages=messages(PROMPT), **asked)),
        ]

    def broken_stream(self):
        said = []
        try:
            for chunk in self.chat(model=MODEL, messages=messages(ASKED["broken"]), stream=True):
                said.append(chunk)
        except openai.APIError as error:
            return {"text": text_of(said), "code": error.code}

    def models(self):
        listed = [model.id for model in self.client.models.list()]
        return {"listed": listed, "retrieved": self.client.models.retrieve(ASKED["slashed"]).id}

    def strict_types(self):
        model = self.client.models.with_raw_response.retrieve(MODEL).http_response.text
        return super().strict_types() | {
            "model": self.unknown("model", [model]),
            "error": self.unknown("error", [self.error()]),
        }

    def error(self):
        """The error of a body; what stands beside it is no business of the SDK."""
        try:
            self.client.models.retrieve("other")
        except openai.NotFoundError as error:
            return ErrorObject.model_validate(error.body, strict=True).model_dump_json()


tell(["/v1", "/inference/v1"], lambda base_url: OpenAIProgram(base_url).scenarios())
