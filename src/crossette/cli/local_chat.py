"""The chat client for an engine in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from crossette.api.chat_prompt import chat_template
from crossette.engine import AnyEngine, Embedder
from crossette.errors import ModelError
from crossette.generation.answer import start
from crossette.generation.choice import Stops
from crossette.generation.prompt import encode_chat
from crossette.types import GenerationRequest, SamplingParams


class LocalChat:
    """A `ChatClient` for an engine in this process: `crossette chat` without `--url`."""

    def __init__(self, engine: AnyEngine) -> None:
        """Raises ModelError for an embedding model."""
        if isinstance(engine, Embedder):
            engine.close()
            raise ModelError(f"{engine.info.name} is an embedding model: it has no answers. Choose a chat model.")
        self._engine = engine
        self._template = chat_template(engine)

    async def reply(self, messages: Sequence[dict[str, str]]) -> AsyncGenerator[str, None]:
        engine = self._engine
        prompt = encode_chat(engine.tokenizer, self._template, messages)
        defaults: dict[str, Any] = dict(engine.info.sampling_defaults)
        request = GenerationRequest(
            id="chat",
            prompt=prompt,
            sampling=SamplingParams(max_tokens=max(1, engine.info.context_length - len(prompt)), **defaults),
            end_token_ids=engine.info.end_token_ids,
        )
        async with aclosing(start(engine, [request], Stops()).deltas()) as deltas:
            async for delta in deltas:
                yield delta.text

    async def aclose(self) -> None:
        self._engine.close()
