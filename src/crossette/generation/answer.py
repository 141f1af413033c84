"""Answers: the choices of a request as one stream of deltas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from crossette.engine import Engine, Generation
from crossette.errors import OutputMismatch
from crossette.generation.attempts import HeldDeltas, Retry
from crossette.generation.choice import Choice, Delta, Echo, Stops
from crossette.text.output_plan import PLAIN, OutputPlan
from crossette.types import GenerationRequest, SamplingParams, TokenOutput, Usage


@dataclass(slots=True)
class Timings:
    """When an answer began, had its first token and ended: seconds of `perf_counter`."""

    begun: float = field(default_factory=perf_counter)
    first_token: float | None = None
    ended: float | None = None


class ChoiceState(Protocol):
    """A choice in progress."""

    @property
    def only_calls(self) -> bool:
        """Whether only calls can follow: content that is empty then is null."""

    @property
    def mean_logprob(self) -> float:
        """The mean logprob of its tokens so far, if logprobs were requested."""

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended it; None if none did, or if an upstream does not tell."""


class DeltaSource(Protocol):
    """An answer as replies and records read it, whether an engine or an upstream generates it."""

    calls_in_turn: bool
    """Whether a call is complete when the next one begins: an upstream may write them side by side."""
    timings: Timings
    num_open: int
    """The number of choices that have not ended. When it is 0, what `deltas` still yields comes without waiting."""

    @property
    def choices(self) -> Sequence[ChoiceState]: ...

    @property
    def num_prompts(self) -> int: ...

    @property
    def num_prompt_tokens(self) -> int: ...

    @property
    def num_predicted(self) -> int:
        """The tokens of the predicted output; 0 for none."""

    @property
    def sampling(self) -> SamplingParams | None:
        """The sampling parameters of all prompts; None if an upstream has its own."""

    @property
    def queued_s(self) -> float | None: ...

    @property
    def usage(self) -> Usage: ...

    def usage_of(self, indices: Iterable[int]) -> Usage:
        """The usage so far of all prompts and of these choices."""

    def prompt_of(self, index: int) -> tuple[int, ...]:
        """The prompt of a choice; () if its tokens are not known."""

    def deltas(self) -> AsyncGenerator[Delta, None]:
        """Yield the deltas of all choices, once. Closing the iterator ends the choices that still run."""

    async def aclose(self) -> None:
        """End all choices, even if `deltas` was never read. Counts do not change afterwards."""


class Answer:
    """All choices of all prompts of one API request. Iterate `deltas()` once; counts are current after each delta."""

    calls_in_turn = True

    def __init__(
        self,
        generations: Sequence[Generation],
        requests: Sequence[GenerationRequest],
        choices: list[Choice],
        timings: Timings | None = None,
        retry: Retry | None = None,
        num_continued: int = 0,
    ) -> None:
        """The last `num_continued` tokens of each prompt are those that its answers begin with."""
        self.requests = requests
        self.choices = choices
        self.timings = timings or Timings()
        self.num_prompt_tokens = sum(len(request.prompt) for request in requests)
        """The tokens of all prompts, including those that no step has begun."""
        self.num_open = len(choices)
        """The number of choices that have not ended."""
        self._generations = list(generations)
        """One for each prompt, then one for each further attempt."""
        self._retried: list[int] = []
        """The choice of each further attempt."""
        self._retry = retry
        self._num_continued = num_continued
        self._last_waits: Sequence[float | None] | None = None
        """The waits of the prompts when the answer was closed; None while it is open."""
        self._last_usage: Usage | None = None
        """The usage when the answer was closed."""
        self._per_prompt = requests[0].n
        self._predicts = bool(requests[0].prediction)

    @property
    def num_prompts(self) -> int:
        return len(self.requests)

    @property
    def num_predicted(self) -> int:
        """The tokens of the predicted output; 0 for none."""
        return len(self.requests[0].prediction)

    @property
    def sampling(self) -> SamplingParams:
        """The sampling parameters of the first prompt; others may have a smaller limit."""
        return self.requests[0].sampling

    def prompt_of(self, index: int) -> tuple[int, ...]:
        """The prompt of a choice, without the tokens that its answer begins with."""
        prompt = self.requests[index // self._per_prompt].prompt
        return prompt[: len(prompt) - self._num_continued]

    @property
    def usage(self) -> Usage:
        """The usage so far. A prompt counts in full, once for all its choices, from the first step that computes it.

        A prompt that left the queue before that does not count, even if others of its request were answered.
        """
        return self._last_usage or self.usage_of(range(len(self.choices)))

    def usage_of(self, indices: Iterable[int]) -> Usage:
        """The usage so far of all prompts and of these choices."""
        prompt = cached = completion = reasoning = accepted = rejected = retried = 0
        for request, wait in zip(self.requests, self._waits, strict=True):
            if wait is not None:
                prompt += len(request.prompt)
        for choice in self.choices:
            cached += choice.num_cached
        for choice in map(self.choices.__getitem__, indices):
            completion += choice.num_tokens
            reasoning += choice.num_reasoning
            retried += choice.num_retried
            if self._predicts:  # else draft tokens are not reported
                accepted += choice.num_accepted
                rejected += choice.num_rejected
        return Usage(prompt, completion, cached, reasoning, accepted, rejected, retried)

    @property
    def queued_s(self) -> float | None:
        """The longest wait of a prompt for its first step so far, in seconds; None before the first step."""
        return max((wait for wait in self._waits if wait is not None), default=None)

    @property
    def _waits(self) -> Sequence[float | None]:
        """How long each prompt waited for its first step, in seconds; None for one that no step has begun."""
        if self._last_waits is not None:
            return self._last_waits
        return [generation.queued_s for generation in self._generations[: len(self.requests)]]

    def deltas(self) -> AsyncGenerator[Delta]:
        """Yield the deltas of all choices. Closing the iterator ends the choices that still run."""
        is_alone = len(self._generations) == 1 and self._retry is None
        return self._deltas_of(self._generations[0]) if is_alone else self._merged_deltas()

    async def _deltas_of(self, generation: Generation) -> AsyncGenerator[Delta]:
        """The deltas of the only generation: without `merge`, which every token would pass."""
        try:
            async for output in generation:
                if (delta := self._read(0, output)) is not None:
                    yield delta
        finally:
            await generation.aclose()

    def _read(self, source: int, output: TokenOutput) -> Delta | None:
        """The delta of an output of generation `source`; None if no text is certain yet. Raises what a choice does."""
        now = perf_counter()
        timings = self.timings
        if timings.first_token is None:
            timings.first_token = now
        delta = self.choices[self._choice_of(source, output)].read(output, now - timings.begun)
        if delta is not None and delta.finish_reason is not None:
            self._note_end()
            if output.finish_reason is None:
                self._generations[source].finish(output.index)
        return delta

    async def _merged_deltas(self) -> AsyncGenerator[Delta]:
        """The deltas of several generations, or of one whose choices may be sampled again."""
        async with AsyncExitStack() as stack:
            for generation in self._generations:
                stack.push_async_callback(generation.aclose)
            outputs = await stack.enter_async_context(aclosing(merge(self._generations)))
            async for source, output in outputs:
                index = self._choice_of(source, output)
                try:
                    delta = self._read(source, output)
                except OutputMismatch:
                    if output.finish_reason is None:
                        self._generations[source].finish(output.index)
                    if not self._begin_retry(index):
                        raise
                    stack.push_async_callback(self._generations[-1].aclose)
                    continue
                if delta is None:
                    continue
                if self._retry is None:
                    yield delta
                    continue
                for released in self._retry.held[index].release(delta):
                    yield released

    def _choice_of(self, source: int, output: TokenOutput) -> int:
        """The choice of an output of generation `source`."""
        if source < len(self.requests):
            return source * self._per_prompt + output.index
        return self._retried[source - len(self.requests)]

    def _begin_retry(self, index: int) -> bool:
        """Begin another attempt at a choice that failed its check; False if there is none."""
        if self._retry is None:
            return False
        prompt_index, index_of_prompt = divmod(index, self._per_prompt)
        begun = self._retry.begin(self.choices[index], self.requests[prompt_index], index_of_prompt)
        if begun is None:
            return False
        self.choices[index], generation = begun
        self._generations.append(generation)
        self._retried.append(index)
        return True

    def _note_end(self) -> None:
        self.num_open -= 1
        if not self.num_open:
            self.timings.ended = perf_counter()

    async def aclose(self) -> None:
        """End all choices, even if `deltas` was never read. Counts do not change afterwards."""
        if self._last_usage is not None:
            return
        for generation in self._generations:
            await generation.aclose()
        # A running step may still begin a prompt; limits and ledger must get the same counts.
        self._last_waits = self._waits
        self._last_usage = self.usage_of(range(len(self.choices)))


def start(
    engine: Engine,
    requests: Sequence[GenerationRequest],
    stops: Stops,
    *,
    echo_last: int = 0,
    continued: Sequence[int] = (),
    traced: bool = False,
    plan: OutputPlan = PLAIN,
    timings: Timings | None = None,
    max_attempts: int = 1,
    holds_all: bool = True,
) -> Answer:
    """Admit all requests of one call, or none. Raises what the engine's admission raises.

    Answers begin with the last `echo_last` tokens of their prompts, or with `continued`, with which the prompts end. If
    `traced`, deltas list their tokens. `plan` parses the output; its constraint is already in the requests. Pass
    `timings` if the answer began before this call. If the plan has keywords that only its check enforces, a choice
    that fails it is sampled again, up to `max_attempts` times in all, unless text of it was yielded: with `holds_all`
    none is before the check.
    """
    generations: list[Generation] = []
    try:
        for request in requests:
            generations.append(engine.generate(request))
    except BaseException:
        for generation in generations:
            asyncio.get_running_loop().create_task(generation.aclose())
        raise

    # One for all choices of a prompt: the first output of one choice has the logprobs of the prompt.
    echoes = [Echo(engine.tokenizer, request.prompt, echo_last) if echo_last else None for request in requests]

    def choice(index: int, request: GenerationRequest, previous: Choice | None = None) -> Choice:
        return Choice(
            index,
            engine.tokenizer,
            stops,
            plan,
            traced=traced,
            echo=echoes[index // request.n],
            continued=continued,
            previous=previous,
        )

    choices = [
        choice(prompt_index * request.n + index, request)
        for prompt_index, request in enumerate(requests)
        for index in range(request.n)
    ]
    retry = None
    if plan.checked:
        held = [HeldDeltas(plan, holds_all=holds_all) for _ in choices]
        retry = Retry(engine.generate, choice, max_attempts, held)
    return Answer(generations, requests, choices, timings, retry, len(continued))


async def merge(generations: Sequence[Generation]) -> AsyncGenerator[tuple[int, TokenOutput]]:
    """Yield the outputs of several generations as they come, each with the index of its generation.

    Generations may be appended while it runs.
    """
    if len(generations) == 1:
        async for first_output in generations[0]:
            yield 0, first_output
            if len(generations) > 1:  # the new one must not wait for the other choices of this one
                break
        else:
            return
    num_begun = 0
    pending: dict[asyncio.Future[TokenOutput | None], int] = {}
    try:
        while pending or num_begun < len(generations):
            for index in range(num_begun, len(generations)):
                pending[asyncio.ensure_future(_next(generations[index]))] = index
            num_begun = len(generations)
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
