"""Accumulated deltas, compared with a reference that reads all tokens at once, character by character."""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossette.generation.answer import start
from crossette.generation.choice import Stops
from crossette.types import FinishReason, TokenOutput
from support.engine_calls import make_request, run
from support.played_engine import PlayedEngine, records
from support.token_streams import RECORDED, TABLE, ChoiceTokens, choice_tokens, interleaved_steps, stops_in

PROMPT = (TABLE.id_of(b"a"),)


@dataclass(frozen=True)
class Result:
    """A complete choice. Each token has its id, its bytes, its offset in the text, and its logprob."""

    text: str
    reason: FinishReason | None
    tokens: list[tuple[int, bytes, int, float | None]]
    num_tokens: int


def accumulated(
    outputs_per_prompt: Sequence[list[TokenOutput]], stops: Stops, prompt: tuple[int, ...], num_echoed: int
) -> list[Result]:
    """The accumulated deltas of each choice. Fails if a choice continues after its end."""
    engine = PlayedEngine(TABLE)
    engine.play(*outputs_per_prompt)
    n = 1 + max(output.index for output in outputs_per_prompt[0])
    requests = [make_request(prompt, n=n, logprobs=0, prompt_logprobs=num_echoed > 0) for _ in outputs_per_prompt]
    results = [Result("", None, [], 0) for _ in range(n * len(outputs_per_prompt))]

    async def read() -> None:
        answer = start(engine, requests, stops, echo_last=num_echoed, traced=True)
        async for delta in answer.deltas():
            before = results[delta.index]
            assert before.reason is None, "a choice continued after its end"
            text = before.text + delta.text
            tokens = [(t.id, t.data, t.offset, t.logprob.logprob if t.logprob else None) for t in delta.tokens]
            assert delta.finish_reason or all(offset < len(text) for _, _, offset, _ in tokens), "before its text"
            num_tokens = answer.choices[delta.index].num_tokens
            results[delta.index] = Result(text, delta.finish_reason, before.tokens + tokens, num_tokens)
        assert answer.usage.completion_tokens == sum(choice.num_tokens for choice in results)

    run(read())
    return results


def read_at_once(choice: ChoiceTokens, stops: Stops, prompt: tuple[int, ...], num_echoed: int) -> Result:
    """The reference: the result of all tokens at once."""
    echoed = prompt[max(0, len(prompt) - num_echoed) :]
    data = [TABLE.token_text(token) for token in echoed] + [TABLE.token_bytes(token) for token in choice.tokens]
    ends = [0, *accumulate(map(len, data))]
    joined = b"".join(data)
    texts = [utf_8_decode(joined[:end], "replace", False)[0] for end in ends]
    """The text that is certain before each token, and after the last."""
    text, num_echoed_chars = texts[-1], len(texts[len(echoed)])
    num_tokens, stop = len(choice.tokens), None
    for end in range(num_echoed_chars + 1, len(text) + 1):
        found = [string for string in stops.strings if text[num_echoed_chars:end].endswith(string)]
        if found:
            stop = end if stops.include else end - max(map(len, found))
            num_tokens = next(i for i, certain in enumerate(texts) if len(certain) >= end) - len(echoed)
            break
    length = len(text) if stop is None else stop
    begins = character_offsets(joined)
    scores = [None, *(one.logprob for one in records(prompt[1:], 0))][len(prompt) - len(echoed) :]
    scores += [one.logprob for one in records(choice.tokens, 0)]
    tokens = []
    for index, token in enumerate((*echoed, *choice.tokens[:num_tokens])):
        offset = sum(begin <= ends[index] for begin in begins) - 1 if data[index] else len(texts[index])
        # Without a stop, bytes of an incomplete character are listed at the end; the end token only after an echo.
        if offset < length or (stop is None and (data[index] or echoed)):
            tokens.append((token, TABLE.token_text(token), offset, scores[index]))
    return Result(text[:length], choice.reason if stop is None else FinishReason.STOP, tokens, num_tokens)


def character_offsets(data: bytes) -> list[int]:
    """The byte offset of each character, including replacement characters for invalid bytes."""
    begins, index = [], 0
    while index < len(data):
        begins.append(index)
        try:
            index += len(data[index:].decode()[0].encode())
        except UnicodeDecodeError as error:
            index += error.end if error.start == 0 else len(data[index : index + error.start].decode()[0].encode())
    return begins


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[ChoiceTokens], Stops, tuple[int, ...], int]:
    """The choices of each prompt, the stop conditions, the prompt, and the number of echoed tokens."""
    choices = draw(st.lists(choice_tokens(), min_size=1, max_size=3))
    stops = Stops(tuple(draw(stops_in(choices[0].text))), draw(st.booleans()))
    prompt = (*draw(choice_tokens()).tokens, *PROMPT)
    return choices, stops, prompt, draw(st.sampled_from([0, 0, 1, 2, len(prompt)]))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data(), cases())
def test_accumulated_deltas_equal_the_answer_read_at_once(
    data: st.DataObject, case: tuple[list[ChoiceTokens], Stops, tuple[int, ...], int]
) -> None:
    choices, stops, prompt, num_echoed = case
    outputs_per_prompt = [data.draw(interleaved_steps(choices)) for _ in range(data.draw(st.integers(1, 2)))]

    expected = [read_at_once(choice, stops, prompt, num_echoed) for choice in choices]
    assert accumulated(outputs_per_prompt, stops, prompt, num_echoed) == expected * len(outputs_per_prompt)


def cut_in_two(choice: ChoiceTokens) -> list[list[TokenOutput]]:
    """The outputs of all divisions into two steps."""
    tokens, reason = choice.tokens, choice.reason
    return [[TokenOutput(0, tokens[:i]), TokenOutput(0, tokens[i:], reason)] for i in range(len(tokens) + 1)]


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("stream", RECORDED, ids=lambda stream: stream.text[:8])
def test_recorded_output_may_be_cut_anywhere(stream: ChoiceTokens, include: bool) -> None:
    """With stop strings from its middle, its last character, and none."""
    text = stream.text.rstrip("\ufffd")
    middle = len(text) // 2
    for strings in ((), (text[middle : middle + 4],), (text[-1],), (text[middle - 1 : middle + 2], text[middle])):
        stops = Stops(strings, include)
        expected = read_at_once(stream, stops, PROMPT, 0)
        for outputs in cut_in_two(stream):
            assert accumulated([outputs], stops, PROMPT, 0) == [expected]


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize(
    ("texts", "stops", "before", "stop", "num_tokens"),
    [
        (["one", " two", " three"], [" two"], "one", " two", 2),
        (["one", " t", "wo th", "ree"], ["two"], "one ", "two", 3),  # spans tokens
        (["one", " two"], ["x", "wo", "y"], "one t", "wo", 2),  # ends in the last token
        (["abc", "de"], ["abcd", "cde"], "", "abcd", 2),  # overlapping
        (["abc", "de"], ["bcd", "c"], "ab", "c", 1),  # nested: the inner one is complete first
        (["abc", "de"], ["bc", "abc"], "", "abc", 1),  # complete at the same character: the longest
        (["a\n", "\nb"], ["\n\n"], "a", "\n\n", 2),
        (["a👩", "\u200d👩", " b"], ["\u200d👩"], "a👩", "\u200d👩", 2),
        (["e", "\u0301", "a"], ["\u0301"], "e", "\u0301", 2),  # a combining mark alone
        (["ab", "ab"], ["abx"], "abab", "", 2),  # begins in the last token, and never ends
    ],
)
def test_an_answer_ends_at_its_stop_string(
    texts: list[str], stops: list[str], before: str, stop: str, num_tokens: int, include: bool
) -> None:
    choice = ChoiceTokens(tuple(TABLE.id_of(text.encode()) for text in texts), FinishReason.LENGTH)
    for outputs in cut_in_two(choice):
        (result,) = accumulated([outputs], Stops(tuple(stops), include), PROMPT, 0)
        assert (result.text, result.num_tokens) == (before + stop if include else before, num_tokens)
        assert result.reason == (FinishReason.STOP if stop else FinishReason.LENGTH)


@pytest.mark.parametrize(
    ("tokens", "text", "offsets"),
    [
        ([b"a", b"\xf0\x9f", b"\x8e\x86", b"b"], "a🎆b", [0, 1, 1, 2]),
        ([b"a\xf0\x9f\x8e", b"\x86b", b"c"], "a🎆bc", [0, 1, 3]),
        ([b"\xff", b"a"], "\ufffda", [0, 1]),
        ([b" \xe5", b"\x8c", b"go"], " \ufffdgo", [0, 1, 2]),  # recorded: an incomplete character, and then text
        ([b"\xc3", b"\xc3\xa9", b"a"], "\ufffdéa", [0, 1, 2]),
        ([b"\xe2\x80", b"\xff", b"a"], "\ufffd\ufffda", [0, 1, 2]),
    ],
)
def test_a_token_begins_at_its_first_byte(tokens: list[bytes], text: str, offsets: list[int]) -> None:
    choice = ChoiceTokens(tuple(map(TABLE.id_of, tokens)), FinishReason.LENGTH)

    for outputs in cut_in_two(choice):
        (result,) = accumulated([outputs], Stops(), PROMPT, 0)
        assert (result.text, [offset for _, _, offset, _ in result.tokens]) == (text, offsets)
