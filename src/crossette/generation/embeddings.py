"""Vectors of texts from a model that generates: the last hidden state of a text's last token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crossette.engine import Engine, Generation, ModelInfo, WaitEstimate
from crossette.errors import EngineFailure
from crossette.generation.prompt import encode_document
from crossette.types import GenerationRequest, SamplingParams

_NOTHING = SamplingParams(max_tokens=0)


@dataclass(frozen=True)
class EngineVectors:
    """A `VectorSource` on an engine. Texts are computed as prompts are, in the same steps, with the prefix cache."""

    engine: Engine
    id: str
    """That of the request: each text has its own after it."""
    tenant: str = ""
    isolation_key: str = ""
    adapter: str | None = None

    @property
    def info(self) -> ModelInfo:
        return self.engine.info

    @property
    def encoder(self) -> _PromptEncoder:
        return _PromptEncoder(self.engine)

    @property
    def longest_text(self) -> int:
        """A prompt leaves room for one token of output."""
        return self.engine.info.context_length - 1

    def estimate_wait(self) -> WaitEstimate:
        return self.engine.estimate_wait(self._request(0, (0,)))

    def embed(self, texts: Sequence[Sequence[int]]) -> _GeneratedVectors:
        vectors = _GeneratedVectors()
        try:
            for index, text in enumerate(texts):
                vectors.add(self.engine.generate(self._request(index, tuple(text))), len(text))
        except BaseException:
            vectors.cancel()
            raise
        return vectors

    def _request(self, index: int, prompt: tuple[int, ...]) -> GenerationRequest:
        return GenerationRequest(
            id=f"{self.id}-{index}",
            prompt=prompt,
            sampling=_NOTHING,
            tenant=self.tenant,
            isolation_key=self.isolation_key,
            hidden_state=True,
            adapter=self.adapter,
        )


@dataclass(frozen=True)
class _PromptEncoder:
    engine: Engine

    def encode(self, texts: Sequence[str], *, specials: bool = True, max_tokens: int | None = None) -> list[list[int]]:
        tokenizer = self.engine.tokenizer
        if not specials:
            return [tokenizer.encode(text, specials=False)[:max_tokens] for text in texts]
        return [list(encode_document(tokenizer, text))[:max_tokens] for text in texts]


class _GeneratedVectors:
    """An `Embedding`: one generation for each text."""

    def __init__(self) -> None:
        self._texts: list[tuple[Generation, int]] = []
        self._counted: int | None = None
        """The tokens of the texts that were begun, once the request is closed."""
        self.num_cached = 0

    def add(self, generation: Generation, num_tokens: int) -> None:
        self._texts.append((generation, num_tokens))

    @property
    def queued_s(self) -> float | None:
        return max((wait for one, _ in self._texts if (wait := one.queued_s) is not None), default=None)

    @property
    def num_computed(self) -> int:
        if self._counted is not None:
            return self._counted
        return sum(num_tokens for one, num_tokens in self._texts if one.queued_s is not None)

    async def vectors(self) -> npt.NDArray[np.float32]:
        return np.stack([await self._read(one) for one, _ in self._texts])

    async def _read(self, generation: Generation) -> npt.NDArray[np.float32]:
        async for output in generation:
            self.num_cached += output.cached_tokens
            if output.hidden_state is not None:
                return np.frombuffer(output.hidden_state, "<f4").astype(np.float32)
        raise EngineFailure("The engine returned no hidden state. Retry the request.")

    async def aclose(self) -> None:
        self._counted = self.num_computed
        for generation, _ in self._texts:
            await generation.aclose()

    def cancel(self) -> None:
        """Close from a function that is no coroutine."""
        self._closing = asyncio.get_running_loop().create_task(self.aclose())
