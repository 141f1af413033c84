"""POST /completions: a prompt continued."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from crossette.api.dialect import Dialect
from crossette.api.generate import Call, encode_off_loop
from crossette.api.schema.common import Head, StreamUsage, usage_body
from crossette.api.schema.completions import Completion, CompletionChoice, CompletionRequest
from crossette.engine import Engine
from crossette.generation import Answer, collect
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

    def __init__(self, head: Head, body: CompletionRequest, dialect: Dialect) -> None:
        self._head = head
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
                    [CompletionChoice(delta.index, delta.text, delta.finish_reason)],
                    self._usage.on_chunk(answer.usage, is_last_finish=num_open == 0),
                )
        if self._usage.at_end:
            yield self._body([], answer)

    async def whole(self, answer: Answer) -> Completion:
        choices = [
            CompletionChoice(choice.index, choice.text, choice.finish_reason) for choice in await collect(answer)
        ]
        return self._body(choices, answer)

    def _body(self, choices: list[CompletionChoice], answer: Answer) -> Completion:
        head = self._head
        return Completion(head.id, "text_completion", head.created, head.model, choices, usage_body(answer.usage))
