"""POST /completions: a prompt continued."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from msgspec.structs import asdict

from crossette.api.dialect import Dialect
from crossette.api.extras import Extras
from crossette.api.generate import Call, encode_off_loop
from crossette.api.schema.answer import Head, StreamUsage, usage_body
from crossette.api.schema.completions import Completion, CompletionChoice, CompletionRequest
from crossette.api.schema.response_format import OutputFormatBuilder, output_format_asked
from crossette.engine import Engine
from crossette.errors import InvalidRequest, Unsupported
from crossette.generation.accumulator import Accumulator, ChoiceResult, collect
from crossette.generation.answer import Answer
from crossette.generation.choice import Delta
from crossette.generation.prompt import encode_text, token_id
from crossette.text.output_plan import OutputPlan
from crossette.text.template.fill_in_middle import FimFormat, fim_format


async def prepare(body: CompletionRequest, engine: Engine, dialect: Dialect) -> Call:
    """Everything that may refuse the request, before anything is answered."""
    gap = _gap(body, engine) if body.suffix else None
    prompts = [
        tuple(prompt)
        if isinstance(prompt, list)
        else await encode_off_loop(len(prompt), encode_text, engine.tokenizer, prompt)
        for prompt in (_with_gap(body, gap) if gap else body.prompts())
    ]
    making = output_format_asked(body)
    ends = (token_id(engine.tokenizer, end) for end in (gap.ends if gap else ()))
    return Call(
        prompts,
        default_max_tokens=dialect.completion_max_tokens,
        end_token_ids=frozenset(end for end in ends if end is not None),
        plan=partial(_plan, making) if making is not None else None,
    )


def _plan(making: OutputFormatBuilder) -> OutputPlan:
    """A prompt's answers are text, and may be held to a form. Thoughts and calls have no marks here."""
    form = making()
    return OutputPlan(form.constraint, form)


def _gap(body: CompletionRequest, engine: Engine) -> FimFormat:
    """How the engine's model is shown a gap. Raises Unsupported for a model that fills none."""
    found = fim_format(lambda mark: token_id(engine.tokenizer, mark) is not None)
    if found is None:
        raise Unsupported(
            f"'suffix' needs a model that was trained to fill in the middle, and the vocabulary of "
            f"'{engine.info.name}' has no tokens for that. Leave suffix out, or ask another model.",
            param="suffix",
        )
    return found


def _with_gap(body: CompletionRequest, gap: FimFormat) -> list[str]:
    """The prompts and the suffix, marked. Raises InvalidRequest for prompts that are token ids already."""
    texts = [prompt for prompt in body.prompts() if isinstance(prompt, str)]
    if not texts:
        raise InvalidRequest(
            "suffix needs the prompt as text: put the model's own tokens into a prompt of token ids.", param="suffix"
        )
    return [gap.prompt(text, body.suffix or "") for text in texts]


class CompletionReply:
    """Writes deltas as chunks of a completion, or all of them as one."""

    def __init__(self, head: Head, body: CompletionRequest, dialect: Dialect, extras: Extras | None) -> None:
        self._extras = extras
        self._num_wanted, self._num_generated = body.num_choices, body.num_generated
        self._usage = StreamUsage(dialect, body.stream_options)
        self._body = partial(Completion, object="text_completion", **asdict(head))

    async def chunks(self, answer: Answer) -> AsyncGenerator[Completion, None]:
        accumulator = Accumulator(len(answer.choices))
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                is_first = delta.index not in accumulator
                accumulator.add(delta)
                choice = self._chunk(answer, delta, accumulator, is_first=is_first)
                usage = self._usage.on_chunk(
                    lambda: answer.usage_of(accumulator.begun), is_last_finish=not answer.num_open
                )
                chunk = self._body(choices=[choice], usage=usage)
                if self._extras is not None:
                    self._extras.add_perf_metrics(chunk, answer)
                yield chunk
        if self._usage.at_end:
            yield self._body(choices=[], usage=usage_body(answer.usage))

    def _chunk(self, answer: Answer, delta: Delta, accumulator: Accumulator, *, is_first: bool) -> CompletionChoice:
        choice = CompletionChoice(delta.index, delta.text, delta.finish_reason)
        if self._extras is not None:
            self._extras.add_tokens(choice, delta.tokens)
            if is_first:
                self._extras.add_prompt_ids(choice, answer, delta.index)
            if delta.finish_reason is not None:
                self._extras.add_raw_output(choice, answer, accumulator.result(delta.index))
        return choice

    async def whole(self, answer: Answer) -> Completion:
        results = self._best(await collect(answer), answer)
        choices = [self._choice(index, result, answer) for index, result in enumerate(results)]
        completion = self._body(choices=choices, usage=usage_body(answer.usage))
        if self._extras is not None:
            self._extras.add_perf_metrics(completion, answer)
        return completion

    def _best(self, results: list[ChoiceResult], answer: Answer) -> list[ChoiceResult]:
        """Of each prompt's choices the requested ones: all, or those with the highest mean logprob, best first."""
        if self._num_generated == self._num_wanted:
            return results
        best: list[ChoiceResult] = []
        for begin in range(0, len(results), self._num_generated):
            ranked = sorted(
                results[begin : begin + self._num_generated],
                key=lambda result: answer.choices[result.index].mean_logprob,
                reverse=True,
            )
            best += ranked[: self._num_wanted]
        return best

    def _choice(self, index: int, result: ChoiceResult, answer: Answer) -> CompletionChoice:
        choice = CompletionChoice(index, result.text, result.finish_reason)
        if self._extras is not None:
            self._extras.add_tokens(choice, result.tokens)
            self._extras.add_prompt_ids(choice, answer, result.index)
            self._extras.add_raw_output(choice, answer, result)
        return choice
