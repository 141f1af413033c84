"""Tokens to deltas: one stream of small pieces, of which every answer is made, streamed or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from crossette.engine import Engine, Generation, Tokenizer
from crossette.text.detokenizer import Detokenizer
from crossette.text.stop import StopChecker
from crossette.types import FinishReason, GenerationRequest, TokenOutput, Usage


@dataclass(frozen=True, slots=True)
class Stops:
    """The strings that end an answer, and whether its text includes them."""

    strings: tuple[str, ...] = ()
    include: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """A new piece of one choice. `index` counts over all prompts of the request."""

    index: int
    text: str
    finish_reason: FinishReason | None = None


class Choice:
    """One answer in the making."""

    def __init__(self, index: int, tokenizer: Tokenizer, stops: Stops) -> None:
        self.index = index
        self.num_tokens = 0
        self.num_cached = 0
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer()
        self._stops = StopChecker(stops.strings, include=stops.include)

    def read(self, output: TokenOutput) -> Delta | None:
        """The delta of an output; None if nothing is certain yet.

        Tokens after the one that completes a stop string are not read, and not counted.
        """
        text = ""
        self.num_cached += output.cached_tokens
        for token_id in output.token_ids:
            self.num_tokens += 1
            text += self._stops.push(self._detokenizer.push(self._tokenizer.token_bytes(token_id)))
            if self._stops.stopped:
                return Delta(self.index, text, FinishReason.STOP)
        if output.finish_reason is not None:
            text += self._stops.flush()
        elif not text:
            return None
        return Delta(self.index, text, output.finish_reason)


class Answer:
    """All choices of all prompts of one API request. Iterate `deltas()` once; counts are true after any delta."""

    def __init__(
        self, generations: Sequence[Generation], requests: Sequence[GenerationRequest], choices: Sequence[Choice]
    ) -> None:
        self.choices = choices
        self.num_prompt_tokens = sum(len(request.prompt) for request in requests)
        self._generations = generations
        self._per_prompt = requests[0].n

    @property
    def usage(self) -> Usage:
        return Usage(
            self.num_prompt_tokens,
            sum(choice.num_tokens for choice in self.choices),
            cached_tokens=sum(choice.num_cached for choice in self.choices),
        )

    async def deltas(self) -> AsyncGenerator[Delta]:
        """The pieces of all choices as they come. Closing it ends what still runs."""
        async with AsyncExitStack() as stack:
            for generation in self._generations:
                stack.push_async_callback(generation.aclose)
            outputs = await stack.enter_async_context(aclosing(merge(self._generations)))
            async for prompt_index, output in outputs:
                generation = self._generations[prompt_index]
                choice = self.choices[prompt_index * self._per_prompt + output.index]
                delta = choice.read(output)
                if delta is None:
                    continue
                if delta.finish_reason is not None and output.finish_reason is None:
                    generation.finish(output.index)
                yield delta

    async def aclose(self) -> None:
        """End all choices, also if `deltas` was never read."""
        for generation in self._generations:
            await generation.aclose()


def start(engine: Engine, requests: Sequence[GenerationRequest], stops: Stops) -> Answer:
    """Admit all requests of one call, or none. Raises what the engine's admission raises."""
    generations: list[Generation] = []
    try:
        for request in requests:
            generations.append(engine.generate(request))
    except BaseException:
        for generation in generations:
            asyncio.get_running_loop().create_task(generation.aclose())
        raise
    choices = [Choice(index, engine.tokenizer, stops) for index in range(len(requests) * requests[0].n)]
    return Answer(generations, requests, choices)


async def merge(generations: Sequence[Generation]) -> AsyncGenerator[tuple[int, TokenOutput]]:
    """Outputs of several generations as they come, each with the place of its generation."""
    if len(generations) == 1:
        async for only in generations[0]:
            yield 0, only
        return
    pending = {asyncio.ensure_future(_next(g)): place for place, g in enumerate(generations)}
    try:
        while pending:
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=pending.__getitem__):
                place = pending.pop(task)
                output = task.result()
                if output is not None:
                    pending[asyncio.ensure_future(_next(generations[place]))] = place
                    yield place, output
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _next(generation: Generation) -> TokenOutput | None:
    """The next output, or None at the end: StopAsyncIteration cannot leave a task."""
    async for output in generation:
        return output
    return None


@dataclass(frozen=True, slots=True)
class Whole:
    """One choice, complete."""

    index: int
    text: str
    finish_reason: FinishReason | None


async def collect(answer: Answer) -> list[Whole]:
    """The answer that is not streamed: its deltas, folded. One entry for each choice, in order."""
    texts: list[list[str]] = [[] for _ in answer.choices]
    reasons: list[FinishReason | None] = [None] * len(answer.choices)
    async with aclosing(answer.deltas()) as deltas:
        async for delta in deltas:
            texts[delta.index].append(delta.text)
            reasons[delta.index] = delta.finish_reason or reasons[delta.index]
    return [Whole(i, "".join(pieces), reason) for i, (pieces, reason) in enumerate(zip(texts, reasons, strict=True))]
