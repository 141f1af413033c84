"""POST /completions: prompts from bodies, chunks from deltas."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from msgspec.structs import asdict

from crossette.api.dialect import Dialect
from crossette.api.endpoint import Call, Reply, encode_off_loop
from crossette.api.extras import Extras
from crossette.api.schema.answer import Head, StreamUsage, usage_body
from crossette.api.schema.common import check_token_ids
from crossette.api.schema.completions import Completion, CompletionChoice, CompletionRequest, Prompt
from crossette.api.schema.response_format import OutputFormatBuilder, output_format_of
from crossette.engine import Engine
from crossette.errors import InvalidRequest, Unsupported
from crossette.generation.accumulator import Accumulator, ChoiceResult, collect
from crossette.generation.answer import DeltaSource
from crossette.generation.choice import Delta
from crossette.generation.prompt import encode_text, token_id
from crossette.text.output_plan import OutputPlan
from crossette.text.template.fill_in_middle import FimFormat, fim_format
from crossette.types import FinishReason


async def prepare(body: CompletionRequest, engine: Engine, dialect: Dialect) -> Call:
    """Validate the request and build its prompts. Raises before anything is sent."""
    gap = _gap(body, engine) if body.suffix else None
    prompts = [
        _latest(await _tokens(prompt, body.prompt_path(index), engine), body.truncate_prompt_tokens or 0, engine)
        for index, prompt in enumerate(_with_gap(body, gap) if gap else body.prompts())
    ]
    build_format = output_format_of(body)
    ends = (token_id(engine.tokenizer, end) for end in (gap.ends if gap else ()))
    return Call(
        prompts,
        default_max_tokens=body.default_max_tokens(dialect),
        end_token_ids=frozenset(end for end in ends if end is not None),
        plan=partial(_plan, build_format) if build_format is not None else None,
    )


async def _tokens(prompt: Prompt, path: str, engine: Engine) -> tuple[int, ...]:
    """The tokens of one prompt, which is at `path`. Raises InvalidRequest for a prompt without tokens."""
    if isinstance(prompt, list):
        check_token_ids(path, prompt, engine.info)
        tokens = tuple(prompt)
    else:
        tokens = await encode_off_loop(len(prompt), encode_text, engine.tokenizer, prompt)
    if not tokens:
        reason = "is an empty list" if isinstance(prompt, list) else "is empty, and this model has no BOS token"
        raise InvalidRequest(f"'{path}' {reason}: there is nothing to continue.", param=path)
    return tokens


def _latest(tokens: tuple[int, ...], limit: int, engine: Engine) -> tuple[int, ...]:
    """The last `limit` tokens of a prompt, its BOS token included; 0 for all."""
    if not limit or len(tokens) <= limit:
        return tokens
    first = tokens[:1] if tokens[0] == engine.tokenizer.bos_token_id else ()
    return first + tokens[len(tokens) - limit + len(first) :]


def _plan(build_format: OutputFormatBuilder) -> OutputPlan:
    """The output constraint of a completion. Reasoning and tool calls are not parsed: all output is text."""
    output_format = build_format()
    return OutputPlan(output_format.constraint, output_format)


def _gap(body: CompletionRequest, engine: Engine) -> FimFormat:
    """The fill-in-the-middle format of the engine's model. Raises Unsupported for a model that has none."""
    found = fim_format(lambda token: token_id(engine.tokenizer, token) is not None)
    if found is None:
        raise Unsupported(
            f"'suffix' needs a model that was trained to fill in the middle, and the vocabulary of "
            f"'{engine.info.name}' has no tokens for that. Leave suffix out, or use another model.",
            param="suffix",
        )
    return found


def _with_gap(body: CompletionRequest, gap: FimFormat) -> list[str]:
    """The fill-in-the-middle prompts. Raises InvalidRequest for prompts that are token ids."""
    texts = [prompt for prompt in body.prompts() if isinstance(prompt, str)]
    if not texts:
        raise InvalidRequest(
            "suffix needs a prompt of text: put the model's own fill-in-the-middle tokens into a prompt of token ids.",
            param="suffix",
        )
    return [gap.prompt(text, body.suffix or "") for text in texts]


class CompletionReply(Reply):
    """Converts deltas to chunks of a completion, or all of them to one completion."""

    def __init__(self, head: Head, body: CompletionRequest, dialect: Dialect, extras: Extras | None) -> None:
        self.finish_reasons: list[str] = []
        self._extras = extras
        self._num_choices, self._num_generated = body.num_choices, body.num_generated
        self._usage = StreamUsage(dialect, body.stream_options)
        self._new_completion = partial(Completion, object="text_completion", **asdict(head))

    async def chunks(self, answer: DeltaSource) -> AsyncGenerator[Completion, None]:
        accumulator = Accumulator(len(answer.choices))
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                is_first = accumulator.add(delta)
                choice = self._chunk(answer, delta, accumulator, is_first=is_first)
                usage = self._usage.on_chunk(
                    lambda: answer.usage_of(accumulator.begun), is_last_finish=not answer.num_open
                )
                chunk = self._new_completion(choices=[choice], usage=usage)
                if self._extras is not None:
                    self._extras.add_perf_metrics(chunk, answer)
                yield chunk
        if self._usage.at_end:
            yield self._new_completion(choices=[], usage=usage_body(answer.usage))

    def _chunk(
        self, answer: DeltaSource, delta: Delta, accumulator: Accumulator, *, is_first: bool
    ) -> CompletionChoice:
        choice = CompletionChoice(delta.index, delta.text, delta.finish_reason)
        if delta.finish_reason is not None:
            self._note(delta.finish_reason)
        if self._extras is not None:
            self._extras.add_tokens(choice, delta.tokens)
            if is_first:
                self._extras.add_prompt_ids(choice, answer, delta.index)
            if delta.finish_reason is not None:
                self._extras.add_raw_output(choice, answer, accumulator.result(delta.index))
        return choice

    async def completion(self, answer: DeltaSource) -> Completion:
        results = self._best(await collect(answer), answer)
        choices = [self._choice(index, result, answer) for index, result in enumerate(results)]
        completion = self._new_completion(choices=choices, usage=usage_body(answer.usage))
        if self._extras is not None:
            self._extras.add_perf_metrics(completion, answer)
        return completion

    def _best(self, results: list[ChoiceResult], answer: DeltaSource) -> list[ChoiceResult]:
        """The requested choices of each prompt: all, or those with the highest mean logprob, best first."""
        if self._num_generated == self._num_choices:
            return results
        best: list[ChoiceResult] = []
        for begin in range(0, len(results), self._num_generated):
            ranked = sorted(
                results[begin : begin + self._num_generated],
                key=lambda result: answer.choices[result.index].mean_logprob,
                reverse=True,
            )
            best += ranked[: self._num_choices]
        return best

    def _choice(self, index: int, result: ChoiceResult, answer: DeltaSource) -> CompletionChoice:
        choice = CompletionChoice(index, result.text, result.finish_reason)
        self._note(result.finish_reason)
        if self._extras is not None:
            self._extras.add_tokens(choice, result.tokens)
            self._extras.add_prompt_ids(choice, answer, result.index)
            self._extras.add_raw_output(choice, answer, result)
        return choice

    def _note(self, reason: FinishReason | None) -> None:
        if reason is not None:
            self.finish_reasons.append(reason)
