"""The contract of the engine interface: the same tests for every engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from itertools import combinations
from time import monotonic

import pytest

from crossette.engine import Engine
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.runner import Logits
from crossette.engines.openvino.sequence import Batch
from crossette.engines.vllm.engine import VllmEngine
from crossette.errors import (
    ContextLengthExceeded,
    EngineFailure,
    InvalidRequest,
    ServingError,
    ShuttingDown,
)
from crossette.generation.answer import start
from crossette.generation.choice import Stops
from crossette.testing.fake_engine import FakeEngine
from crossette.types import Constraint, FinishReason, GenerationRequest
from support.engine_calls import (
    MAX_SEQUENCES,
    TINY_CONTEXT,
    ChoiceOutput,
    ask,
    is_empty,
    make_request,
    read,
    run,
    settle,
    tokens,
)
from support.vllm_server import FakeVllm

Make = Callable[[], Engine]


def fail_next_step(engine: Engine, vllm_server: FakeVllm, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(engine, VllmEngine):
        if not vllm_server.requests:
            pytest.skip("a step of a real vLLM cannot be made to fail")
        engine = vllm_server.engine
    if isinstance(engine, FakeEngine):
        engine.fail_next_step(RuntimeError("kernel broke"))
        return
    assert isinstance(engine, OpenVINOEngine)
    run_batch, failures = engine._runner.run, [RuntimeError("kernel broke")]

    def run_or_fail(batch: Batch) -> Logits:
        if failures:
            raise failures.pop()
        return run_batch(batch)

    monkeypatch.setattr(engine._runner, "run", run_or_fail)


# --- slots ---


def test_estimates_count_free_slots(engine: Engine) -> None:
    """Requests that arrived since the last step count too, so a burst is queued at once."""

    async def work() -> list[bool]:
        found = []
        async with AsyncExitStack() as stack:
            for _ in range(MAX_SEQUENCES + 2):
                request = make_request(max_tokens=500)
                found.append(engine.estimate_wait(request).has_slot)
                stack.push_async_callback(engine.generate(request).aclose)
        return found

    assert run(work()) == [True] * MAX_SEQUENCES + [False] * 2
    run(settle(engine))
    assert engine.estimate_wait(make_request()).has_slot


# --- outputs ---


def test_each_choice_ends_exactly_once(engine: Engine) -> None:
    choices = run(ask(engine, make_request(n=3, max_tokens=5)))

    ends = {index: (len(choice.tokens), choice.reason) for index, choice in choices.items()}
    assert ends == dict.fromkeys(range(3), (5, FinishReason.LENGTH))


@pytest.mark.parametrize("max_tokens", [1, 2, 33])
def test_max_tokens_is_obeyed(engine: Engine, max_tokens: int) -> None:
    choice = run(ask(engine, make_request(max_tokens=max_tokens)))[0]

    assert (len(choice.tokens), choice.reason) == (max_tokens, FinishReason.LENGTH)


def test_a_full_context_ends_with_length(engine: Engine) -> None:
    room = 3
    prompt = (65,) * (engine.info.context_length - room)

    choice = run(ask(engine, make_request(prompt, max_tokens=100)))[0]

    assert (len(choice.tokens), choice.reason) == (room, FinishReason.LENGTH)


def test_an_end_token_ends_the_choice_and_is_its_last_token(engine: Engine) -> None:
    async def work() -> tuple[tuple[int, ...], ChoiceOutput]:
        unstopped = await tokens(engine, make_request(max_tokens=12))
        end = frozenset({unstopped[5]})
        return unstopped, (await ask(engine, make_request(max_tokens=12, end_token_ids=end, ignore_eos=False)))[0]

    unstopped, stopped = run(work())

    assert stopped == ChoiceOutput(unstopped[: unstopped.index(unstopped[5]) + 1], FinishReason.STOP)


def test_ignore_eos_continues_after_an_end_token(engine: Engine) -> None:
    async def work() -> tuple[tuple[int, ...], ChoiceOutput]:
        expected = await tokens(engine, make_request(max_tokens=12))
        return expected, (await ask(engine, make_request(max_tokens=12, end_token_ids=frozenset(expected))))[0]

    expected, choice = run(work())

    assert choice == ChoiceOutput(expected, FinishReason.LENGTH)


def test_tokens_and_prompts_are_counted(engine: Engine) -> None:
    before = engine.stats()

    run(ask(engine, make_request((7,) * 40, max_tokens=5, isolation_key="counted")))

    after = engine.stats()
    assert after.completion_tokens - before.completion_tokens == 5
    assert after.prompt_tokens - before.prompt_tokens == 40


# --- reproducibility ---


def test_greedy_output_is_the_same_for_every_run_and_choice(engine: Engine) -> None:
    async def work() -> set[tuple[int, ...]]:
        many = await ask(engine, make_request(n=3))
        return {await tokens(engine, make_request(seed=1)), *(choice.tokens for choice in many.values())}

    assert len(run(work())) == 1


def test_only_the_same_seed_gives_the_same_output(engine: Engine) -> None:
    async def work() -> list[tuple[int, ...]]:
        asked = [make_request(temperature=1, seed=seed, max_tokens=24) for seed in (7, 7, 8)]
        return [await tokens(engine, request) for request in asked]

    first, again, other = run(work())

    assert first == again != other


def test_output_without_a_seed_differs_each_time(engine: Engine) -> None:
    async def work() -> list[tuple[int, ...]]:
        return [await tokens(engine, make_request(temperature=1, max_tokens=24)) for _ in range(2)]

    first, second = run(work())

    assert first != second


@pytest.mark.parametrize("seed", [0, -1, 2**64 - 1, -(2**63)])
def test_choice_j_of_seed_s_has_the_output_of_seed_s_plus_j(engine: Engine, seed: int) -> None:
    async def work() -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        many = await ask(engine, make_request(temperature=1, seed=seed, n=3, max_tokens=16))
        seeds = [s if s < 2**64 else s - 2**64 for s in range(seed, seed + 3)]  # wraps around at 64 bits
        alone = [await tokens(engine, make_request(temperature=1, seed=s, max_tokens=16)) for s in seeds]
        return [many[j].tokens for j in range(3)], alone

    many, alone = run(work())

    assert many == alone


def test_different_prompts_have_different_outputs(engine: Engine) -> None:
    async def work() -> set[tuple[int, ...]]:
        return {await tokens(engine, make_request(prompt, max_tokens=24)) for prompt in ("abc", "abd", "xyz")}

    assert len(run(work())) == 3


# --- ending early ---


def assert_running(engine: Engine, number: int) -> None:
    stats = engine.stats()
    assert stats.waiting == 0
    if isinstance(engine, VllmEngine):  # goes on while these tests get no CPU, and may have ended more
        assert stats.running <= number
    else:
        assert stats.running == number


def test_finish_ends_that_choice_only(engine: Engine) -> None:
    async def work() -> dict[int, ChoiceOutput]:
        generation = engine.generate(make_request(n=3, max_tokens=20))
        outputs = [await anext(aiter(generation))]
        generation.finish(1)
        return {**await read(generation), -1: ChoiceOutput(outputs[0].token_ids, None)}

    choices = run(work())

    assert 1 not in choices
    assert [choices[index].reason for index in (0, 2)] == [FinishReason.LENGTH] * 2
    assert sum(len(choices[index].tokens) for index in (-1, 0, 2)) in (40, 41)


def test_finish_of_every_choice_ends_the_stream_and_frees_the_blocks(engine: Engine) -> None:
    async def work() -> dict[int, ChoiceOutput]:
        generation = engine.generate(make_request(n=2, max_tokens=900))
        await anext(aiter(generation))
        for index in (0, 1, 1):
            generation.finish(index)
        return await read(generation)

    before = engine.stats().completion_tokens
    assert run(work()) == {}
    run(settle(engine))
    assert is_empty(engine)
    assert engine.stats().completion_tokens - before < 200


def test_finish_frees_the_blocks_of_a_choice_while_the_others_continue(engine: Engine) -> None:
    async def work() -> None:
        generation = engine.generate(make_request((9,) * 60, n=3, max_tokens=900))
        async with aclosing(generation):
            await anext(aiter(generation))
            generation.finish(0)
            await settle(engine)
            assert_running(engine, 2)

    run(work())


@pytest.mark.parametrize("num_read", [0, 1, 5])
def test_aclose_frees_everything_however_much_was_read_and_may_be_called_twice(engine: Engine, num_read: int) -> None:
    async def work() -> dict[int, ChoiceOutput]:
        generation = engine.generate(make_request((9,) * 100, n=2, max_tokens=900))
        for _ in range(num_read):
            await anext(aiter(generation))
        await generation.aclose()
        await generation.aclose()
        await settle(engine)
        assert is_empty(engine)
        return await read(generation)

    assert run(work()) == {}


def test_closing_while_queued_leaves_the_queue(engine: Engine) -> None:
    async def work() -> None:
        running = engine.generate(make_request(n=MAX_SEQUENCES, max_tokens=900))
        await anext(aiter(running))
        queued = [engine.generate(make_request()) for _ in range(3)]
        kept = engine.generate(make_request(max_tokens=3))
        for generation in queued:
            await generation.aclose()
        for index in range(MAX_SEQUENCES - 1):
            running.finish(index)
        assert (await read(kept))[0].reason == FinishReason.LENGTH
        assert_running(engine, 1)
        await running.aclose()

    run(work())


def test_more_requests_than_slots_are_all_served(engine: Engine) -> None:
    async def work() -> list[tuple[int, ...]]:
        asked = [make_request((40 + i,) * (10 + 7 * i), max_tokens=4) for i in range(3 * MAX_SEQUENCES)]
        return await asyncio.gather(*(tokens(engine, request) for request in asked))

    assert [len(text) for text in run(work())] == [4] * 3 * MAX_SEQUENCES


def test_cancelling_a_waiting_reader_frees_everything(engine: Engine) -> None:
    async def work() -> None:
        generation = engine.generate(make_request((9,) * 900, max_tokens=100))
        reader = asyncio.ensure_future(read(generation))
        await asyncio.sleep(0)  # one iteration of the loop: the reader waits now
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await generation.aclose()
        await settle(engine)
        assert is_empty(engine)

    run(work())


# --- the queue ---


def test_the_queue_time_ends_with_the_first_step_that_computes_the_request(engine: Engine) -> None:
    async def work() -> None:
        running = engine.generate(make_request(n=MAX_SEQUENCES, max_tokens=900))
        await anext(running)
        asked = monotonic()
        waiting = engine.generate(make_request())
        arrived = monotonic()
        for _ in range(2 * MAX_SEQUENCES):
            await anext(running)
        assert waiting.queued_s is None

        freed = monotonic()
        running.finish(0)
        await anext(waiting)

        assert waiting.queued_s is not None
        assert freed - arrived <= waiting.queued_s <= monotonic() - asked
        waited = waiting.queued_s
        await read(waiting)
        assert waiting.queued_s == waited
        await running.aclose()

    run(work())


def test_the_queue_time_is_the_longest_of_all_choices(engine: Engine) -> None:
    async def work() -> None:
        running = engine.generate(make_request(n=MAX_SEQUENCES - 1, max_tokens=900))
        await anext(running)
        late = engine.generate(make_request(n=2, max_tokens=900))
        assert (await anext(late)).index == 0
        first = late.queued_s

        running.finish(0)
        while (await anext(late)).index == 0:
            pass

        assert first is not None and late.queued_s is not None
        assert 0 <= first < late.queued_s
        await running.aclose()
        await late.aclose()

    run(work())


def test_a_request_cancelled_in_the_queue_has_no_queue_time(engine: Engine) -> None:
    async def work() -> None:
        running = engine.generate(make_request(n=MAX_SEQUENCES, max_tokens=900))
        await anext(running)
        waiting = engine.generate(make_request())
        await anext(running)
        await waiting.aclose()
        await running.aclose()
        await settle(engine)

        assert waiting.queued_s is None

    run(work())


def test_usage_of_several_prompts_counts_those_that_have_begun(engine: Engine) -> None:
    prompts = [(length,) * length for length in range(40, 42 + MAX_SEQUENCES)]  # without shared prefixes

    async def work() -> int:
        requests = [make_request(prompt, n=2, max_tokens=900) for prompt in prompts]
        answer = start(engine, requests, Stops())
        async with aclosing(answer.deltas()) as deltas:
            await anext(deltas)
        await answer.aclose()
        return answer.usage.prompt_tokens

    counted = run(work())

    begun = (some for number in range(1, MAX_SEQUENCES + 1) for some in combinations(prompts, number))
    assert counted in {sum(map(len, some)) for some in begun}  # vLLM begins them in any order


# --- admission ---


@pytest.mark.parametrize(
    ("request_", "error", "message", "param"),
    [
        (make_request(()), InvalidRequest, "The prompt has no tokens", "prompt"),
        (
            make_request((1,) * TINY_CONTEXT),
            ContextLengthExceeded,
            f"The prompt is too long: {TINY_CONTEXT}, model maximum context length: {TINY_CONTEXT - 1}",
            "prompt",
        ),
        (make_request((1, -1)), InvalidRequest, "Token 1 of the prompt is -1, but the vocabulary ends at 2", "prompt"),
        (make_request((1, 10**6)), InvalidRequest, "Token 1 of the prompt is 1000000, but the voc", "prompt"),
        (
            make_request(constraint=Constraint("regex", "(", param="x")),
            InvalidRequest,
            "regular expression cannot",
            "x",
        ),
    ],
)
def test_an_invalid_request_is_refused_by_the_call_itself(
    engine: Engine, request_: GenerationRequest, error: type[ServingError], message: str, param: str
) -> None:
    async def work() -> None:
        engine.generate(request_)

    with pytest.raises(error, match=message) as raised:
        run(work())

    assert (type(raised.value), raised.value.param) == (error, param)


def test_the_longest_valid_prompt_gets_a_token(engine: Engine) -> None:
    prompt = (3,) * (engine.info.context_length - 1)

    assert run(ask(engine, make_request(prompt)))[0].reason == FinishReason.LENGTH


# --- close and failure ---


def test_close_fails_running_and_waiting_requests_and_refuses_new_ones(make: Make) -> None:
    engine = make()

    async def work() -> None:
        generations = [engine.generate(make_request(n=MAX_SEQUENCES, max_tokens=900)) for _ in range(2)]
        await anext(aiter(generations[0]))
        engine.close()
        for generation in generations:
            with pytest.raises(ShuttingDown):
                await read(generation)
            assert await read(generation) == {}
        with pytest.raises(ShuttingDown):
            engine.generate(make_request())

    run(work())
    engine.close()

    assert is_empty(engine)


def test_a_failing_step_fails_its_own_requests_only(
    make: Make, vllm_server: FakeVllm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    caplog.set_level(logging.CRITICAL)

    async def work() -> None:
        failed = [engine.generate(make_request(n=MAX_SEQUENCES // 2, max_tokens=900)) for _ in range(2)]
        for generation in failed:
            await anext(aiter(generation))
        waiting = engine.generate(make_request(n=MAX_SEQUENCES, max_tokens=2))
        fail_next_step(engine, vllm_server, monkeypatch)
        for generation in failed:
            with pytest.raises(EngineFailure, match="failed in this request's step"):
                await read(generation)
        assert len(await read(waiting)) == MAX_SEQUENCES

    run(work())
    run(settle(engine))

    assert is_empty(engine)
    engine.close()


def test_requests_of_a_closed_event_loop_do_not_affect_the_next_one(make: Make) -> None:
    engine = make()

    async def abandon() -> None:
        engine.generate(make_request(n=2, max_tokens=30))
        await asyncio.sleep(0)

    run(abandon())
    run(settle(engine))

    assert run(ask(engine, make_request(max_tokens=3)))[0].reason == FinishReason.LENGTH
    engine.close()


# --- hidden states ---


def hidden_state(engine: Engine, prompt: str, max_tokens: int = 0) -> tuple[bytes, int]:
    """The hidden state of a prompt, and the number of tokens that followed."""

    async def ask_once() -> tuple[bytes, int]:
        request = make_request(prompt, max_tokens=max_tokens, hidden_state=True)
        outputs = [output async for output in engine.generate(request)]
        (state,) = (output.hidden_state for output in outputs if output.hidden_state is not None)
        assert outputs[0].hidden_state == state
        return state, sum(len(output.token_ids) for output in outputs)

    return run(ask_once())


@pytest.fixture
def hidden(engine: Engine) -> Engine:
    """An engine that has hidden states: those of vLLM refuse them (tests/engines/vllm/test_params.py)."""
    if isinstance(engine, VllmEngine):
        pytest.skip("vLLM returns no hidden states with tokens")
    return engine


@pytest.mark.parametrize("prompt", ["a", "Once upon a time", "x" * 200])
def test_the_hidden_state_of_a_prompt_needs_no_output(hidden: Engine, prompt: str) -> None:
    engine = hidden
    state, num_tokens = hidden_state(engine, prompt)

    assert (len(state) % 4, num_tokens) == (0, 0)
    assert hidden_state(engine, prompt) == (state, 0)  # then from the prefix cache
    assert hidden_state(engine, prompt, max_tokens=3) == (state, 3)
    assert hidden_state(engine, prompt + "!")[0] != state


def test_only_a_request_that_asks_gets_a_hidden_state(hidden: Engine) -> None:
    engine = hidden

    async def ask_both() -> list[bool]:
        requests = [make_request("Once", max_tokens=2, hidden_state=wanted) for wanted in (False, True)]
        generations = [engine.generate(request) for request in requests]
        return [any([output.hidden_state async for output in generation]) for generation in generations]

    assert run(ask_both()) == [False, True]
