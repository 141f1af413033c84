"""Answers: deltas that join to the complete answer, usage counts, and resources that are freed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.errors import ContextLengthExceeded, EngineFailure, ShuttingDown
from crossette.generation.accumulator import ChoiceResult, collect
from crossette.generation.answer import Answer, start
from crossette.generation.choice import Choice, Delta, Stops
from crossette.testing.fake_engine import FakeEngine, say
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.text.pieces import Content
from crossette.types import FinishReason, GenerationRequest, TokenOutput, Usage
from support.engine_calls import is_empty, make_request, run

END = frozenset({IM_END})


def ask(prompt: str = "Hi", *, max_tokens: int = 100, n: int = 1) -> GenerationRequest:
    return make_request(prompt, max_tokens=max_tokens, n=n, end_token_ids=END, ignore_eos=False)


async def read(answer: Answer) -> list[Delta]:
    return [delta async for delta in answer.deltas()]


def accumulate(deltas: list[Delta]) -> dict[int, tuple[str, FinishReason | None]]:
    """Text and finish reason of each choice. Fails if a choice has a delta after its end."""
    results: dict[int, tuple[str, FinishReason | None]] = {}
    for delta in deltas:
        text, reason = results.get(delta.index, ("", None))
        assert reason is None, f"choice {delta.index} continued after its end"
        results[delta.index] = (text + delta.text, delta.finish_reason)
    return results


def answer_to(
    engine: FakeEngine, *requests: GenerationRequest, stops: Stops | None = None
) -> tuple[dict[int, tuple[str, FinishReason | None]], Usage]:
    async def work() -> tuple[dict[int, tuple[str, FinishReason | None]], Usage]:
        answer = start(engine, requests, stops or Stops())
        return accumulate(await read(answer)), answer.usage

    return run(work())


# --- one choice, without an engine ---


def read_cut(tokens: Sequence[int], cuts: list[int], stops: Stops) -> tuple[str, FinishReason | None, int]:
    """Text, finish reason and token count of tokens that come in steps; the last step has the finish reason."""
    choice = Choice(0, FakeTokenizer(), stops)
    edges = [0, *sorted(min(index, len(tokens)) for index in cuts), len(tokens)]
    text = ""
    for index, (begin, end) in enumerate(pairwise(edges)):
        reason = FinishReason.LENGTH if index == len(edges) - 2 else None
        delta = choice.read(TokenOutput(0, tuple(tokens[begin:end]), reason))
        if delta is not None:
            text += delta.text
            if delta.finish_reason is not None:
                return text, delta.finish_reason, choice.num_tokens
    return text, None, choice.num_tokens


@given(st.text("aé🎆\n", max_size=20), st.lists(st.integers(0, 60), max_size=10))
def test_the_joined_deltas_are_the_text_in_any_steps(text: str, cuts: list[int]) -> None:
    tokens = text.encode()

    assert read_cut(tokens, cuts, Stops()) == (text, FinishReason.LENGTH, len(tokens))


@given(
    st.text("aé🎆", max_size=20),
    st.lists(st.integers(0, 60), max_size=10),
    st.lists(st.text("aé🎆", min_size=1, max_size=3), max_size=3),
    st.booleans(),
)
def test_text_end_and_count_with_stops_do_not_depend_on_the_steps(
    text: str, cuts: list[int], stops: list[str], include: bool
) -> None:
    tokens = text.encode()
    by_token = list(range(len(tokens)))

    assert read_cut(tokens, cuts, Stops(tuple(stops), include)) == read_cut(
        tokens, by_token, Stops(tuple(stops), include)
    )


def test_the_token_that_completes_a_stop_is_the_last_that_is_counted() -> None:
    assert read_cut(b"one. two. three", [12], Stops((". ",))) == ("one", FinishReason.STOP, 5)


def delta_of(text: str) -> Delta:
    return Delta(0, text, (Content(text),))


def test_there_is_no_delta_without_certain_text() -> None:
    choice = Choice(0, FakeTokenizer(), Stops(("!!",)))

    outputs = [TokenOutput(0, tuple(piece)) for piece in (b"a", b"!", "é".encode()[:1], "é".encode()[1:])]
    assert [choice.read(output) for output in outputs] == [delta_of("a"), None, None, delta_of("!é")]
    assert choice.read(TokenOutput(0, (IM_END,), FinishReason.STOP)) == Delta(0, "", (), FinishReason.STOP)
    assert choice.num_tokens == 5


# --- answers of an engine ---


def test_an_answer_has_text_finish_reason_and_usage() -> None:
    engine = FakeEngine(lambda request, index: [*b"Hello", IM_END])

    assert answer_to(engine, ask("Hi")) == ({0: ("Hello", FinishReason.STOP)}, Usage(2, 6))
    assert answer_to(engine, ask("Hi", max_tokens=4)) == ({0: ("Hell", FinishReason.LENGTH)}, Usage(2, 4))


@pytest.mark.parametrize("tokens_per_step", [1, 3, 100])
def test_choices_of_all_prompts_are_numbered_consecutively(tokens_per_step: int) -> None:
    engine = FakeEngine(lambda request, index: bytes(request.prompt) + b"-%d" % index, tokens_per_step=tokens_per_step)

    results, usage = answer_to(engine, *(ask(prompt, n=2) for prompt in ("a", "bb", "c")))

    texts = ["a-0", "a-1", "bb-0", "bb-1", "c-0", "c-1"]
    assert results == {index: (text, FinishReason.STOP) for index, text in enumerate(texts)}
    assert usage == Usage(4, sum(map(len, texts)))


def test_the_collected_answer_is_the_accumulated_stream() -> None:
    engine = FakeEngine(say("one", "two, and more"))

    async def work() -> list[ChoiceResult]:
        return await collect(start(engine, [ask(n=2), ask("b", n=2)], Stops((",",))))

    ends = [
        ChoiceResult(index, text, (Content(text),), FinishReason.STOP) for index, text in enumerate(("one", "two") * 2)
    ]
    assert run(work()) == ends
    assert is_empty(engine)


def test_prompts_of_one_call_are_answered_concurrently() -> None:
    async def work() -> list[int]:
        answer = start(FakeEngine(say("some words")), [ask(), ask()], Stops())
        return [delta.index for delta in await read(answer)]

    order = run(work())

    assert order.index(1) < 4  # not after all of the first


def test_a_stop_string_ends_the_choice_in_the_engine_too() -> None:
    engine = FakeEngine(say("say STOP and go on and on and on", "never stops"))

    async def work() -> tuple[list[Delta], Usage, int]:
        answer = start(engine, [ask(n=2)], Stops(("STOP",)))
        deltas = []
        async with aclosing(answer.deltas()) as stream:
            async for delta in stream:
                deltas.append(delta)
                if delta.finish_reason == FinishReason.STOP:
                    break
            running = engine.stats().running
        return deltas, answer.usage, running

    deltas, usage, running = run(work())

    assert accumulate(deltas)[0] == ("say ", FinishReason.STOP)
    assert running == 1
    assert usage.completion_tokens in (2 * len("say STOP"), 2 * len("say STOP") - 1)
    assert is_empty(engine)


@pytest.mark.parametrize("tokens_per_step", [1, 2, 5, 100])
@pytest.mark.parametrize(("include", "text"), [(False, "a"), (True, "a. ")])
def test_tokens_after_a_stop_are_neither_returned_nor_counted(tokens_per_step: int, include: bool, text: str) -> None:
    engine = FakeEngine(say("a. b. c. d. e."), tokens_per_step=tokens_per_step)

    answered = answer_to(engine, ask(), stops=Stops((". ",), include))

    assert answered == ({0: (text, FinishReason.STOP)}, Usage(2, 3))


def test_a_stop_that_is_not_completed_is_text() -> None:
    engine = FakeEngine(say("wait.."))

    assert answer_to(engine, ask(), stops=Stops(("...",)))[0] == {0: ("wait..", FinishReason.STOP)}


def test_closing_in_the_middle_frees_all_prompts() -> None:
    engine = FakeEngine()

    async def work() -> None:
        answer = start(engine, [ask(n=2), ask("another")], Stops())
        async with aclosing(answer.deltas()) as stream:
            await anext(stream)
        assert is_empty(engine)
        await answer.aclose()

    run(work())


def test_aclose_frees_an_answer_that_was_never_read() -> None:
    engine = FakeEngine()

    async def work() -> None:
        answer = start(engine, [ask(n=2), ask()], Stops())
        assert engine.stats().waiting == 3
        await answer.aclose()
        assert is_empty(engine)

    run(work())


@pytest.mark.parametrize(
    ("n", "max_sequences", "begun"), [(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 1), (2, 3, 2), (1, 3, 3)]
)
def test_prompts_that_no_step_has_begun_are_not_counted(n: int, max_sequences: int, begun: int) -> None:
    """A prompt counts in full, once for all its choices, as soon as one of them is admitted to the batch."""
    prompts = ["a", "bb", "cccc"]

    async def work() -> tuple[Usage, Usage, int]:
        engine = FakeEngine(say("some words"), max_sequences=max_sequences)
        answer = start(engine, [ask(prompt, n=n) for prompt in prompts], Stops())
        async with aclosing(answer.deltas()) as stream:
            await anext(stream)
            running = answer.usage
        await answer.aclose()
        return running, answer.usage, answer.num_prompt_tokens

    running, closed, in_all = run(work())

    assert running.prompt_tokens == closed.prompt_tokens == sum(map(len, prompts[:begun]))
    assert in_all == 7


def test_the_usage_of_a_closed_answer_does_not_change() -> None:
    """The step that runs during the close may begin one of its prompts, and later reads return the same usage."""
    engine = FakeEngine()

    async def work() -> list[tuple[Usage, float | None]]:
        engine.pause()
        generations = [engine.generate(ask("Hi")), engine.generate(ask("Ho"))]
        choices = [Choice(index, engine.tokenizer, Stops()) for index in range(2)]
        answer = Answer(generations, [ask("Hi"), ask("Ho")], choices)
        before = answer.usage, answer.queued_s
        await answer.aclose()
        generations[0].queued_s = 1.0  # type: ignore[misc]  # as the engine's thread writes it
        return [before, (answer.usage, answer.queued_s)]

    assert run(work()) == [(Usage(0, 0), None)] * 2


@pytest.mark.parametrize("num_prompts", [1, 3])
def test_a_reader_cancelled_in_the_middle_frees_the_blocks(num_prompts: int) -> None:
    engine = FakeEngine()

    async def work() -> None:
        engine.pause()
        answer = start(engine, [ask() for _ in range(num_prompts)], Stops())
        reader = asyncio.create_task(read(answer))
        await asyncio.sleep(0)  # one turn: the reader waits now
        engine.step()
        assert engine.stats().running == num_prompts
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert is_empty(engine)

    run(work())


@pytest.mark.parametrize("num_prompts", [1, 3])
def test_an_engine_failure_reaches_the_reader_unchanged(num_prompts: int) -> None:
    engine = FakeEngine()
    engine.fail_next_step(RuntimeError("kernel broke"))

    with pytest.raises(EngineFailure, match="failed in this request's step"):
        answer_to(engine, *(ask() for _ in range(num_prompts)))

    assert is_empty(engine)


def test_a_failure_in_the_middle_comes_after_the_earlier_deltas() -> None:
    engine = FakeEngine(say("text"))

    async def work() -> list[str]:
        engine.pause()
        texts = []
        stream = start(engine, [ask()], Stops()).deltas()
        engine.step()
        engine.fail_next_step(RuntimeError("kernel broke"))
        engine.step()
        texts.append((await anext(stream)).text)
        with pytest.raises(EngineFailure):
            await anext(stream)
        return texts

    assert run(work()) == ["t"]


def test_the_shutdown_of_the_server_reaches_the_reader() -> None:
    engine = FakeEngine()

    async def work() -> None:
        stream = start(engine, [ask()], Stops()).deltas()
        await anext(stream)
        engine.close()
        with pytest.raises(ShuttingDown):
            await read_rest(stream)

    async def read_rest(stream: object) -> None:
        async for _ in stream:  # type: ignore[attr-defined]  # the rest of `deltas()`
            pass

    run(work())


def test_a_rejected_prompt_ends_the_others_of_its_call() -> None:
    engine = FakeEngine(context_length=10)

    async def work() -> None:
        with pytest.raises(ContextLengthExceeded):
            start(engine, [ask("a"), ask("b"), ask("c" * 10)], Stops())
        await asyncio.sleep(0)  # one turn: the tasks that close the others
        assert is_empty(engine)

    run(work())
