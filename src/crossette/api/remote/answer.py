"""The answer of an upstream: its chunks as deltas of choices, with the counts that it reports."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from time import perf_counter

from crossette.errors import UpstreamFailed
from crossette.generation.answer import Timings
from crossette.generation.choice import Delta
from crossette.remote.chunks import CallSent, ChoiceSent, Chunk, DeltaSent, UsageSent
from crossette.text.pieces import Content, Piece, ReasoningText, ToolCallArguments, ToolCallStart
from crossette.types import FinishReason, SamplingParams, Usage

_REASONS = {"length": FinishReason.LENGTH, "content_filter": FinishReason.CONTENT_FILTER}
"""All other finish reasons are a stop; calls are counted."""


class RemoteChoice:
    """One choice in progress."""

    mean_logprob = 0.0
    stop_string: str | None = None

    def __init__(self, index: int) -> None:
        self.index = index
        self.is_open = True
        self._calls: dict[int, int] = {}
        """The index of each call by the upstream's index."""

    @property
    def only_calls(self) -> bool:
        """Whether content that is empty is null."""
        return bool(self._calls)

    def read(self, sent: ChoiceSent) -> Delta | None:
        """The delta of a chunk; None if it adds nothing."""
        pieces = tuple(self._pieces(sent.delta)) if sent.delta is not None else ()
        if sent.text:
            pieces = (Content(sent.text),)
        reason = None
        if sent.finish_reason:
            reason = _REASONS.get(sent.finish_reason, FinishReason.STOP)
            self.is_open = False
        if not pieces and reason is None:
            return None
        text = "".join(piece.text for piece in pieces if isinstance(piece, Content))
        return Delta(self.index, text, pieces, reason)

    def _pieces(self, sent: DeltaSent) -> Iterator[Piece]:
        if reasoning := sent.reasoning_content or sent.reasoning:
            yield ReasoningText(reasoning)
        if content := (sent.content or "") + (sent.refusal or ""):
            yield Content(content)
        calls = sent.tool_calls or ()
        if sent.function_call is not None:
            calls = (*calls, CallSent(0, sent.function_call))
        for call in calls:
            yield from self._call(call)

    def _call(self, sent: CallSent) -> Iterator[Piece]:
        """The pieces of a call. Without an index, a name begins a new call and arguments belong to the last one."""
        function, key = sent.function, sent.index
        if function is None:
            return
        if key is None:
            key = len(self._calls) if function.name else len(self._calls) - 1
        if key not in self._calls:
            self._calls[key] = len(self._calls)
            yield ToolCallStart(self._calls[key], function.name or "")
        if function.arguments:
            yield ToolCallArguments(self._calls[key], function.arguments)


class RemoteAnswer:
    """All choices of one request. Until the upstream reports its usage, the counts are estimates.

    A chunk with text counts as one token, and the prompt as `prompt_tokens`.
    """

    calls_in_turn = False
    sampling: SamplingParams | None = None
    queued_s: float | None = None
    num_predicted = 0

    def __init__(
        self,
        chunks: AsyncGenerator[Chunk, None],
        *,
        num_choices: int,
        num_prompts: int,
        prompt_tokens: int,
        timings: Timings,
    ) -> None:
        self.choices = [RemoteChoice(index) for index in range(num_choices)]
        self.num_prompts = num_prompts
        self.num_open = num_choices
        self.timings = timings
        self._chunks = chunks
        self._prompt_tokens = prompt_tokens
        self._num_deltas = 0
        self._reported: Usage | None = None

    @property
    def num_prompt_tokens(self) -> int:
        return self.usage.prompt_tokens

    @property
    def usage(self) -> Usage:
        """What the upstream reported; else the estimate; nothing before its first chunk with text."""
        if self._reported is not None:
            return self._reported
        return Usage(self._prompt_tokens if self._num_deltas else 0, self._num_deltas)

    def usage_of(self, indices: Iterable[int]) -> Usage:
        """The usage of all choices: upstreams do not tell them apart."""
        return self.usage

    def prompt_of(self, index: int) -> tuple[int, ...]:
        """No tokens: the upstream has them."""
        return ()

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """Yield the deltas of all choices, the last one once the usage is known. Closing it closes the connection.

        Raises ServingError, such as UpstreamFailed if the stream ends before its choices.
        """
        last: Delta | None = None
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                if chunk.usage is not None:
                    self._reported = _usage(chunk.usage)
                for sent in chunk.choices or ():
                    delta = self._read(sent)
                    if delta is not None and not self.num_open:
                        last = delta
                    elif delta is not None:
                        yield delta
        if last is None:
            raise UpstreamFailed("The upstream of this model ended its answer too early.", hint="its stream ended")
        self.timings.ended = perf_counter()
        yield last

    def _read(self, sent: ChoiceSent) -> Delta | None:
        if not 0 <= sent.index < len(self.choices):
            raise UpstreamFailed(f"The upstream of this model sent choice {sent.index} of {len(self.choices)}.")
        choice = self.choices[sent.index]
        delta = choice.read(sent) if choice.is_open else None
        if delta is not None:
            self._num_deltas += bool(delta.pieces)
            self.timings.first_token = self.timings.first_token or perf_counter()
            self.num_open -= delta.finish_reason is not None
        return delta

    async def aclose(self) -> None:
        """Close the connection, even if `deltas` was never read."""
        await self._chunks.aclose()


def _usage(sent: UsageSent) -> Usage:
    prompt, completion = sent.prompt_tokens_details, sent.completion_tokens_details
    return Usage(
        sent.prompt_tokens,
        sent.completion_tokens,
        cached_tokens=(prompt and prompt.cached_tokens) or 0,
        reasoning_tokens=(completion and completion.reasoning_tokens) or 0,
        accepted_prediction_tokens=(completion and completion.accepted_prediction_tokens) or 0,
        rejected_prediction_tokens=(completion and completion.rejected_prediction_tokens) or 0,
    )
