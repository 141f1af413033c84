"""Tokens to deltas: one stream of small pieces, of which every answer is made, streamed or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from itertools import repeat
from time import perf_counter

from crossette.engine import Engine, Generation, Tokenizer
from crossette.text.detokenizer import Detokenizer
from crossette.text.stop import StopChecker
from crossette.text.structured import Form
from crossette.text.trace import TokenText, Trace
from crossette.types import FinishReason, GenerationRequest, Logprob, TokenOutput, Usage


@dataclass(frozen=True, slots=True)
class Stops:
    """The strings and the tokens that end an answer, and whether its text includes them.

    The tokens must be among the request's end tokens: the engine stops at them.
    """

    strings: tuple[str, ...] = ()
    include: bool = False
    token_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Delta:
    """A new piece of one choice. `index` counts over all prompts of the request."""

    index: int
    text: str
    finish_reason: FinishReason | None = None
    tokens: tuple[TokenText, ...] = ()
    """Those whose first character is released with this delta, where they were asked for."""


class Echo:
    """A prompt that its answers begin with, or the last `num_last` tokens of it."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], num_last: int) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._first = max(0, len(prompt) - num_last)
        self._logprobs: tuple[Logprob, ...] = ()

    def note(self, logprobs: tuple[Logprob, ...] | None) -> None:
        """Take the scores of the prompt's tokens, from the second on: one of its choices brings them."""
        self._logprobs = logprobs or self._logprobs

    def say(self, detokenizer: Detokenizer) -> tuple[str, list[TokenText]]:
        """The text and its tokens. Half a character at its end is left in `detokenizer`."""
        text, tokens = "", []
        for place in range(self._first, len(self._prompt)):
            token_id = self._prompt[place]
            logprob = self._logprobs[place - 1] if place and self._logprobs else None
            data = b"" if self._is_added_bos(place) else self._tokenizer.spelling(token_id)
            text += detokenizer.push(data)
            tokens.append(TokenText(token_id, data, detokenizer.begin, logprob))
        return text, tokens

    def _is_added_bos(self, place: int) -> bool:
        return place == 0 and self._prompt[0] == self._tokenizer.bos_token_id


class Choice:
    """One answer in the making."""

    def __init__(
        self,
        index: int,
        tokenizer: Tokenizer,
        stops: Stops,
        *,
        traced: bool = False,
        echo: Echo | None = None,
        form: Form | None = None,
    ) -> None:
        self.index = index
        self.finish_reason: FinishReason | None = None
        self.num_tokens = 0
        self.num_cached = self.num_accepted = self.num_rejected = 0
        self._logprob_sum = 0.0
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer()
        self._stops = StopChecker(stops.strings, include=stops.include)
        self._stop_token_ids = stops.token_ids
        self._unsaid = frozenset() if stops.include else stops.token_ids
        self._trace = Trace() if traced else None
        self._echo = echo
        self._form = form
        self._said: list[str] = []
        """What was generated and released, where a form is asked for."""
        self._num_released = 0

    @property
    def mean_logprob(self) -> float:
        """Of its tokens so far, where logprobs were asked for."""
        return self._logprob_sum / max(1, self.num_tokens)

    def read(self, output: TokenOutput) -> Delta | None:
        """The delta of an output; None if nothing is certain yet.

        Tokens after the one that completes a stop string are not read, and not counted. Raises ConstraintFailed, or
        InvalidRequest, for an answer that ends without the form that was asked for.
        """
        self.num_cached += output.cached_tokens
        self.num_accepted += output.accepted_tokens
        self.num_rejected += output.rejected_tokens
        echo, text = self._say_echo(output), ""
        records = output.logprobs or repeat(None)
        reason = output.finish_reason
        for token_id, logprob in zip(output.token_ids, records, strict=False):
            text += self._stops.push(self._read_token(token_id, logprob))
            if self._stops.stopped:
                reason = FinishReason.STOP
                break
        if reason is not None:
            text += self._stops.flush()
        elif not echo + text:
            return None
        self._check_form(text, reason, output)
        return self._delta(echo + text, reason)

    def _check_form(self, text: str, reason: FinishReason | None, output: TokenOutput) -> None:
        """Look at the whole text when it has ended; only max_tokens may leave it unfinished."""
        if self._form is None:
            return
        self._said.append(text)
        if reason == FinishReason.STOP:
            is_cut = self._stops.stopped or not self._stop_token_ids.isdisjoint(output.token_ids[-1:])
            self._form.check("".join(self._said), is_cut=is_cut)

    def _say_echo(self, output: TokenOutput) -> str:
        """The prompt's text before the first token. Stop strings are not looked for in it."""
        if self._echo is None:
            return ""
        self._echo.note(output.prompt_logprobs)
        text, tokens = self._echo.say(self._detokenizer)
        self._echo = None
        if self._trace is not None:
            for token in tokens:
                self._trace.push(token)
        return text

    def _read_token(self, token_id: int, logprob: Logprob | None) -> str:
        """The characters that a token completes."""
        self.num_tokens += 1
        if logprob is not None:
            self._logprob_sum += logprob.logprob
        if token_id in self._unsaid:
            return ""
        text = self._detokenizer.push(self._tokenizer.token_bytes(token_id))
        if self._trace is not None:
            data = self._tokenizer.spelling(token_id)
            self._trace.push(TokenText(token_id, data, self._detokenizer.begin, logprob))
        return text

    def _delta(self, text: str, finish_reason: FinishReason | None) -> Delta:
        self._num_released += len(text)
        if self._trace is None:
            return Delta(self.index, text, finish_reason)
        tokens = self._trace.release(self._num_released)
        if finish_reason is not None and not self._stops.stopped:
            # What is left began no character that was released: half a character, or the end of the sequence.
            tokens += tuple(token for token in self._trace.flush() if self._tokenizer.token_bytes(token.id))
        return Delta(self.index, text, finish_reason, tokens)


@dataclass(slots=True)
class Timings:
    """When an answer was begun, said its first token and ended: seconds on one clock."""

    begun: float = field(default_factory=perf_counter)
    first_token: float | None = None
    ended: float | None = None


class Answer:
    """All choices of all prompts of one API request. Iterate `deltas()` once; counts are true after any delta."""

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
        self.num_open = len(choices)
        """Choices that have not ended."""
        self._generations = generations
        self._per_prompt = requests[0].n
        self._predicts = bool(requests[0].prediction)

    def prompt_of(self, index: int) -> tuple[int, ...]:
        """The tokens that a choice answers."""
        return self.requests[index // self._per_prompt].prompt

    @property
    def usage(self) -> Usage:
        return Usage(
            self.num_prompt_tokens,
            sum(choice.num_tokens for choice in self.choices),
            cached_tokens=sum(choice.num_cached for choice in self.choices),
            # Guesses that nobody asked for are the engine's own affair.
            accepted_prediction_tokens=sum(choice.num_accepted for choice in self.choices) if self._predicts else 0,
            rejected_prediction_tokens=sum(choice.num_rejected for choice in self.choices) if self._predicts else 0,
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
                self.timings.first_token = self.timings.first_token or perf_counter()
                delta = choice.read(output)
                if delta is None:
                    continue
                if delta.finish_reason is not None:
                    choice.finish_reason = delta.finish_reason
                    self._note_end()
                    if output.finish_reason is None:
                        generation.finish(output.index)
                yield delta

    def _note_end(self) -> None:
        self.num_open -= 1
        if not self.num_open:
            self.timings.ended = perf_counter()

    async def aclose(self) -> None:
        """End all choices, also if `deltas` was never read."""
        for generation in self._generations:
            await generation.aclose()


def start(
    engine: Engine,
    requests: Sequence[GenerationRequest],
    stops: Stops,
    *,
    echo_last: int = 0,
    traced: bool = False,
    form: Form | None = None,
    timings: Timings | None = None,
) -> Answer:
    """Admit all requests of one call, or none. Raises what the engine's admission raises.

    Answers begin with the last `echo_last` tokens of their prompts. If `traced`, deltas list their tokens. `form` is
    what the requests' constraint asks for. `timings` are given where the work began before the engine's.
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
            choices.append(Choice(len(choices), engine.tokenizer, stops, traced=traced, echo=echo, form=form))
    return Answer(generations, requests, choices, timings)


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
    tokens: tuple[TokenText, ...] = ()


class Fold:
    """Deltas of all choices, put together as they come."""

    def __init__(self, num_choices: int) -> None:
        self._texts: list[list[str]] = [[] for _ in range(num_choices)]
        self._tokens: list[list[TokenText]] = [[] for _ in range(num_choices)]
        self._reasons: list[FinishReason | None] = [None] * num_choices

    def __contains__(self, index: int) -> bool:
        """Whether a choice has begun."""
        return bool(self._texts[index])

    def add(self, delta: Delta) -> None:
        self._texts[delta.index].append(delta.text)
        self._tokens[delta.index] += delta.tokens
        self._reasons[delta.index] = delta.finish_reason or self._reasons[delta.index]

    def whole(self, index: int) -> Whole:
        """A choice, as far as it has come."""
        return Whole(index, "".join(self._texts[index]), self._reasons[index], tuple(self._tokens[index]))


async def collect(answer: Answer) -> list[Whole]:
    """The answer that is not streamed: its deltas, folded. One entry for each choice, in order."""
    fold = Fold(len(answer.choices))
    async with aclosing(answer.deltas()) as deltas:
        async for delta in deltas:
            fold.add(delta)
    return [fold.whole(index) for index in range(len(answer.choices))]
