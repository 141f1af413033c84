"""POST /completions: a prompt continued."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from crossette.api.dialect import Dialect
from crossette.api.generate import Call, Writer, encode_off_loop
from crossette.api.schema.common import Head, StreamUsage, usage_body
from crossette.api.schema.completions import Completion, CompletionChoice, CompletionRequest
from crossette.engine import Engine
from crossette.generation import Answer, Whole, collect
from crossette.prompt import encode_text


async def prepare(body: CompletionRequest, engine: Engine, dialect: Dialect) -> Call:
    """Everything that may refuse the request, before anything is answered."""
    prompts = [
        tuple(prompt)
        if isinstance(prompt, list)
        else await encode_off_loop(len(prompt), encode_text, engine.tokenizer, prompt)
        for prompt in body.prompts()
    ]
    return Call(prompts, default_max_tokens=dialect.completion_max_tokens)


class CompletionReply:
    """Writes deltas as chunks of a completion, or all of them as one."""

    def __init__(self, head: Head, body: CompletionRequest, dialect: Dialect, logprobs: Writer) -> None:
        self._head = head
        self._logprobs = logprobs
        self._num_wanted, self._num_generated = body.num_choices, body.num_generated
        self._usage = StreamUsage(dialect, body.stream_options)

    async def chunks(self, answer: Answer) -> AsyncGenerator[Completion, None]:
        num_open = len(answer.choices)
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                num_open -= delta.finish_reason is not None
                yield Completion(
                    self._head.id,
                    "text_completion",
                    self._head.created,
                    self._head.model,
                    [CompletionChoice(delta.index, delta.text, delta.finish_reason, self._logprobs(delta.tokens))],
                    self._usage.on_chunk(answer.usage, is_last_finish=num_open == 0),
                )
        if self._usage.at_end:
            yield self._body([], answer)

    async def whole(self, answer: Answer) -> Completion:
        wholes = await collect(answer)
        choices = [
            CompletionChoice(index, whole.text, whole.finish_reason, self._logprobs(whole.tokens))
            for index, whole in enumerate(self._best(wholes, answer))
        ]
        return self._body(choices, answer)

    def _best(self, wholes: list[Whole], answer: Answer) -> list[Whole]:
        """Of each prompt's choices the wanted ones: all, or those with the highest mean logprob, best first."""
        if self._num_generated == self._num_wanted:
            return wholes
        best: list[Whole] = []
        for begin in range(0, len(wholes), self._num_generated):
            ranked = sorted(
                wholes[begin : begin + self._num_generated],
                key=lambda whole: answer.choices[whole.index].mean_logprob,
                reverse=True,
            )
            best += ranked[: self._num_wanted]
        return best

    def _body(self, choices: list[CompletionChoice], answer: Answer) -> Completion:
        head = self._head
        return Completion(head.id, "text_completion", head.created, head.model, choices, usage_body(answer.usage))
