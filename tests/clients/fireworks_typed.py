"""A program for fireworks-ai 1.x: its base URL is the server's root with /inference, and /inference/v1 does as well."""

# mypy: ignore-errors
# It runs in an environment of its own, with a client that mypy does not see.

import fireworks
from asked import ASKED, messages, tell
from fireworks.types import CompletionChunk, CompletionCreateResponse
from fireworks.types.chat import ChatCompletionChunk
from fireworks.types.chat import CompletionCreateResponse as ChatCompletion
from stainless import MODEL, Program, text_of
from tools_typed import ToolScenarios

TYPES = {
    "chat": ChatCompletion,
    "chat chunks": ChatCompletionChunk,
    "completion": CompletionCreateResponse,
    "completion chunks": CompletionChunk,
}


class FireworksProgram(Program):
    def __init__(self, base_url):
        super().__init__(
            base_url,
            fireworks,
            fireworks.Fireworks,
            fireworks.AsyncFireworks,
            TYPES,
            {"logprobs": True, "top_logprobs": 2},
        )

    def scenarios(self):
        return super().scenarios() | ToolScenarios(self.client, self.real()).scenarios()

    def broken_stream(self):
        """This SDK does not raise on an error frame: it passes the frame on, and the stream ends without a reason."""
        *said, frame = self.chat(model=MODEL, messages=messages(ASKED["broken"]), stream=True)
        assert not any(chunk.choices[0].finish_reason for chunk in said)
        return {"text": text_of(said), "code": frame.model_extra["error"]["code"]}


tell(["/inference", "/inference/v1", ""], lambda base_url: FireworksProgram(base_url).scenarios())
