"""The hand on the fake engine's clock, and what it says."""

from __future__ import annotations

import asyncio

import pytest

from crossette.engine import Engine
from crossette.testing.fake_engine import FakeEngine, say
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.types import FinishReason
from support.engine_calls import Said, ask, make_request, run

END = frozenset({IM_END})


def test_a_script_says_what_each_choice_says_and_ends_with_stop() -> None:
    said = run(ask(FakeEngine(say("one", "two")), make_request(n=3, ignore_eos=False)))

    assert said == {index: Said(tuple(text), FinishReason.STOP) for index, text in enumerate((b"one", b"two", b"one"))}


def test_an_end_token_in_a_script_is_counted_and_ends_it() -> None:
    engine = FakeEngine(lambda request, index: [*b"ab", IM_END, *b"cd"], tokens_per_step=5)

    ended = run(ask(engine, make_request(ignore_eos=False, end_token_ids=END)))
    ignored = run(ask(engine, make_request(ignore_eos=True, end_token_ids=END, max_tokens=7)))

    assert ended == {0: Said((*b"ab", IM_END), FinishReason.STOP)}
    assert ignored == {0: Said((*b"ab", IM_END, *b"cd", IM_END, IM_END), FinishReason.LENGTH)}


def test_unscripted_it_says_sentences_and_ends() -> None:
    said = run(ask(FakeEngine(), make_request(max_tokens=1000, ignore_eos=False, end_token_ids=END)))[0]

    text = bytes(said.tokens[:-1]).decode()
    assert (said.tokens[-1], said.reason) == (IM_END, FinishReason.STOP)
    assert text[0].isupper() and text.endswith(".") and len(text) > 40


def test_while_it_is_paused_only_asked_for_steps_happen() -> None:
    engine = FakeEngine(max_sequences=2)

    async def work() -> list[tuple[int, int, int]]:
        engine.pause()
        asked = [asyncio.create_task(ask(engine, make_request(max_tokens=2))) for _ in range(3)]
        seen = []
        for _ in range(3):
            await asyncio.sleep(0)  # a turn in which a step could happen
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


def test_waiting_for_what_does_not_come_has_an_end() -> None:
    with pytest.raises(TimeoutError, match="EngineStats"):
        FakeEngine().wait_for(lambda stats: stats.running == 1, limit_s=0)


@pytest.mark.parametrize("text", ["", "plain", "Grüße 🎆", "<|im_start|>user\nHi<|im_end|>"])
def test_its_tokens_are_the_bytes_of_the_text(text: str) -> None:
    tokenizer = FakeTokenizer()

    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text, specials=False))) == text.encode()
    assert tokenizer.has_specials(text) == (tokenizer.encode(text, specials=True) != list(text.encode()))


def test_it_is_an_engine() -> None:
    engine: Engine = FakeEngine()  # a promise that the type checker holds

    assert engine.warnings == ()
