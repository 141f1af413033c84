"""Answers: the choices of a request as one stream of deltas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from time import perf_counter

from crossette.engine import Engine, Generation
from crossette.generation.choice import Choice, Delta, Echo, Stops
from crossette.text.output_plan import PLAIN, OutputPlan
from crossette.types import GenerationRequest, TokenOutput, Usage


@dataclass(slots=True)
class Timings:
    """When an answer began, had its first token and ended: seconds of `perf_counter`."""

    begun: float = field(default_factory=perf_counter)
    first_token: float | None = None
    ended: float | None = None


class Answer:
    """All choices of all prompts of one API request. Iterate `deltas()` once; counts are current after each delta."""

    def __init__(
        self,
        generations: Sequence[Generation],
        requests: Sequence[GenerationRequest],
        choices: Sequence[Choice],
        timings: Timings | None = None,
    ) -> None:
        self.requests = requests
        self.choices = choices
        self.timings = timings or Timings()
        self.num_prompt_tokens = sum(len(request.prompt) for request in requests)
        """The tokens of all prompts, including those that no step has begun."""
        self.num_open = len(choices)
        """The number of choices that have not ended."""
        self._generations = generations
        self._last_waits: Sequence[float | None] | None = None
        """The waits of the prompts when the answer was closed; None while it is open."""
        self._per_prompt = requests[0].n
        self._predicts = bool(requests[0].prediction)

    def prompt_of(self, index: int) -> tuple[int, ...]:
        """The prompt of a choice."""
        return self.requests[index // self._per_prompt].prompt

    @property
    def usage(self) -> Usage:
        """The usage so far. A prompt counts in full, once for all its choices, from the first step that computes it.

        A prompt that left the queue before that does not count, even if others of its request were answered.
        """
        return self.usage_of(range(len(self.choices)))

    def usage_of(self, indices: Iterable[int]) -> Usage:
        """The usage so far of all prompts and of these choices."""
        choices = [self.choices[index] for index in indices]
        prompts = zip(self.requests, self._waits, strict=True)
        # Draft tokens are reported only if the request has a prediction.
        predicting = choices if self._predicts else ()
        return Usage(
            sum(len(request.prompt) for request, wait in prompts if wait is not None),
            sum(choice.num_tokens for choice in choices),
            cached_tokens=sum(choice.num_cached for choice in self.choices),
            reasoning_tokens=sum(choice.num_reasoning for choice in choices),
            accepted_prediction_tokens=sum(choice.num_accepted for choice in predicting),
            rejected_prediction_tokens=sum(choice.num_rejected for choice in predicting),
        )

    @property
    def queued_s(self) -> float | None:
        """The longest wait of a prompt for its first step so far, in seconds; None before the first step."""
        return max((wait for wait in self._waits if wait is not None), default=None)

    @property
    def _waits(self) -> Sequence[float | None]:
        """How long each prompt waited for its first step, in seconds; None for one that no step has begun."""
        if self._last_waits is not None:
            return self._last_waits
        return [generation.queued_s for generation in self._generations]

    async def deltas(self) -> AsyncGenerator[Delta]:
        """Yield the deltas of all choices. Closing the iterator ends the choices that still run."""
        async with AsyncExitStack() as stack:
            for generation in self._generations:
                stack.push_async_callback(generation.aclose)
            outputs = await stack.enter_async_context(aclosing(merge(self._generations)))
            async for prompt_index, output in outputs:
                generation = self._generations[prompt_index]
                choice = self.choices[prompt_index * self._per_prompt + output.index]
                self.timings.first_token = self.timings.first_token or perf_counter()
                delta = choice.read(output)
                if delta is None:
                    continue
                if delta.finish_reason is not None:
                    self._note_end()
                    if output.finish_reason is None:
                        generation.finish(output.index)
                yield delta

    def _note_end(self) -> None:
        self.num_open -= 1
        if not self.num_open:
            self.timings.ended = perf_counter()

    async def aclose(self) -> None:
        """End all choices, even if `deltas` was never read. Counts do not change afterwards."""
        for generation in self._generations:
            await generation.aclose()
        # A running step may still begin a prompt; limits and ledger must get the same counts.
        self._last_waits = self._waits


def start(
    engine: Engine,
    requests: Sequence[GenerationRequest],
    stops: Stops,
    *,
    echo_last: int = 0,
    traced: bool = False,
    plan: OutputPlan = PLAIN,
    timings: Timings | None = None,
) -> Answer:
    """Admit all requests of one call, or none. Raises what the engine's admission raises.

    Answers begin with the last `echo_last` tokens of their prompts. If `traced`, deltas list their tokens. `plan`
    parses the output; its constraint is already in the requests. Pass `timings` if the answer began before this call.
    """
    generations: list[Generation] = []
    try:
        for request in requests:
            generations.append(engine.generate(request))
    except BaseException:
        for generation in generations:
            asyncio.get_running_loop().create_task(generation.aclose())
        raise
    choices: list[Choice] = []
    for request in requests:
        echo = Echo(engine.tokenizer, request.prompt, echo_last) if echo_last else None
        for _ in range(request.n):
            choices.append(Choice(len(choices), engine.tokenizer, stops, plan, traced=traced, echo=echo))
    return Answer(generations, requests, choices, timings)


async def merge(generations: Sequence[Generation]) -> AsyncGenerator[tuple[int, TokenOutput]]:
    """Yield the outputs of several generations as they come, each with the index of its generation."""
    if len(generations) == 1:
        async for first_output in generations[0]:
            yield 0, first_output
        return
    pending = {asyncio.ensure_future(_next(g)): index for index, g in enumerate(generations)}
    try:
        while pending:
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=pending.__getitem__):
                index = pending.pop(task)
                output = task.result()
                if output is not None:
                    pending[asyncio.ensure_future(_next(generations[index]))] = index
                    yield index, output
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _next(generation: Generation) -> TokenOutput | None:
    """The next output, or None at the end: a task cannot raise StopAsyncIteration."""
    async for output in generation:
        return output
    return None
