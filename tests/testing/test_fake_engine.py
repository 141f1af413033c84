"""The fake engine: scripted and unscripted output, and control of its steps."""

from __future__ import annotations

import asyncio

import pytest

from crossette.engine import Engine
from crossette.testing.fake_engine import FakeEngine, say
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.types import FinishReason
from support.engine_calls import ChoiceOutput, ask, make_request, run

END = frozenset({IM_END})


def test_a_script_sets_the_output_of_each_choice_which_ends_with_stop() -> None:
    choices = run(ask(FakeEngine(say("one", "two")), make_request(n=3, ignore_eos=False)))

    expected = (b"one", b"two", b"one")
    assert choices == {index: ChoiceOutput(tuple(text), FinishReason.STOP) for index, text in enumerate(expected)}


def test_an_end_token_in_a_script_is_counted_and_ends_it() -> None:
    engine = FakeEngine(lambda request, index: [*b"ab", IM_END, *b"cd"], tokens_per_step=5)

    ended = run(ask(engine, make_request(ignore_eos=False, end_token_ids=END)))
    ignored = run(ask(engine, make_request(ignore_eos=True, end_token_ids=END, max_tokens=7)))

    assert ended == {0: ChoiceOutput((*b"ab", IM_END), FinishReason.STOP)}
    assert ignored == {0: ChoiceOutput((*b"ab", IM_END, *b"cd", IM_END, IM_END), FinishReason.LENGTH)}


def test_without_a_script_it_outputs_sentences_and_ends() -> None:
    choice = run(ask(FakeEngine(), make_request(max_tokens=1000, ignore_eos=False, end_token_ids=END)))[0]

    text = bytes(choice.tokens[:-1]).decode()
    assert (choice.tokens[-1], choice.reason) == (IM_END, FinishReason.STOP)
    assert text[0].isupper() and text.endswith(".") and len(text) > 40


def test_while_paused_only_explicit_steps_run() -> None:
    engine = FakeEngine(max_sequences=2)

    async def work() -> list[tuple[int, int, int]]:
        engine.pause()
        asked = [asyncio.create_task(ask(engine, make_request(max_tokens=2))) for _ in range(3)]
        seen = []
        for _ in range(3):
            await asyncio.sleep(0)  # an iteration in which a step could run
            stats = engine.stats()
            seen.append((stats.running, stats.waiting, stats.steps))
            engine.step()
        engine.resume()
        await asyncio.gather(*asked)
        return seen

    assert run(work()) == [(0, 3, 0), (2, 1, 1), (0, 1, 2)]


def test_another_thread_can_wait_for_it_and_step_it() -> None:
    engine = FakeEngine()

    async def work() -> int:
        engine.pause()
        asked = asyncio.create_task(ask(engine, make_request(max_tokens=1)))
        await asyncio.to_thread(engine.wait_for, lambda stats: stats.waiting == 1)
        await asyncio.to_thread(engine.step)
        return len((await asked)[0].tokens)

    assert run(work()) == 1


def test_wait_for_has_a_time_limit() -> None:
    with pytest.raises(TimeoutError, match="EngineStats"):
        FakeEngine().wait_for(lambda stats: stats.running == 1, limit_s=0)


@pytest.mark.parametrize("text", ["", "plain", "Grüße 🎆", "<|im_start|>user\nHi<|im_end|>"])
def test_its_tokens_are_the_bytes_of_the_text(text: str) -> None:
    tokenizer = FakeTokenizer()

    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text, specials=False))) == text.encode()
    assert tokenizer.has_specials(text) == (tokenizer.encode(text, specials=True) != list(text.encode()))


def test_it_is_an_engine() -> None:
    engine: Engine = FakeEngine()  # checked by the type checker

    assert engine.warnings == ()
