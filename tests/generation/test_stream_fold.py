"""Deltas, put together again, are the answer read in the obvious way: whole, and one character after the other."""

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
from support.token_streams import RECORDED, TABLE, Spoken, spoken, stops_in, take_of

PROMPT = (TABLE.id_of(b"a"),)


@dataclass(frozen=True)
class Folded:
    """A choice, complete. Of each token: its id, its bytes, its offset in the text, and its logprob."""

    text: str
    reason: FinishReason | None
    tokens: list[tuple[int, bytes, int, float | None]]
    num_tokens: int


def fold(takes: Sequence[list[TokenOutput]], stops: Stops, prompt: tuple[int, ...], num_echoed: int) -> list[Folded]:
    """What a reader of deltas has at the end, for each choice. Fails where one takes back or repeats anything."""
    engine = PlayedEngine(TABLE)
    engine.play(*takes)
    n = 1 + max(output.index for output in takes[0])
    asked = [make_request(prompt, n=n, logprobs=0, prompt_logprobs=num_echoed > 0) for _ in takes]
    folded = [Folded("", None, [], 0) for _ in range(n * len(takes))]

    async def read() -> None:
        answer = start(engine, asked, stops, echo_last=num_echoed, traced=True)
        async for delta in answer.deltas():
            before = folded[delta.index]
            assert before.reason is None, "a choice went on after its end"
            text = before.text + delta.text
            tokens = [(t.id, t.data, t.offset, t.logprob.logprob if t.logprob else None) for t in delta.tokens]
            assert delta.finish_reason or all(offset < len(text) for _, _, offset, _ in tokens), "before its text"
            num_tokens = answer.choices[delta.index].num_tokens
            folded[delta.index] = Folded(text, delta.finish_reason, before.tokens + tokens, num_tokens)
        assert answer.usage.completion_tokens == sum(choice.num_tokens for choice in folded)

    run(read())
    return folded


def read_whole(choice: Spoken, stops: Stops, prompt: tuple[int, ...], num_echoed: int) -> Folded:
    """The same, from all tokens at once."""
    echoed = prompt[max(0, len(prompt) - num_echoed) :]
    data = [TABLE.spelling(token) for token in echoed] + [TABLE.token_bytes(token) for token in choice.tokens]
    ends = [0, *accumulate(map(len, data))]
    joined = b"".join(data)
    texts = [utf_8_decode(joined[:end], "replace", False)[0] for end in ends]
    """What is certain before each token, and after the last."""
    text, said = texts[-1], len(texts[len(echoed)])
    num_tokens, stop = len(choice.tokens), None
    for end in range(said + 1, len(text) + 1):
        found = [string for string in stops.strings if text[said:end].endswith(string)]
        if found:
            stop = end if stops.include else end - max(map(len, found))
            num_tokens = next(i for i, certain in enumerate(texts) if len(certain) >= end) - len(echoed)
            break
    length = len(text) if stop is None else stop
    begins = character_begins(joined)
    scores = [None, *(one.logprob for one in records(prompt[1:], 0))][len(prompt) - len(echoed) :]
    scores += [one.logprob for one in records(choice.tokens, 0)]
    tokens = []
    for place, token in enumerate((*echoed, *choice.tokens[:num_tokens])):
        offset = sum(begin <= ends[place] for begin in begins) - 1 if data[place] else len(texts[place])
        # Without a stop, bytes that became no character are listed at the end; the end of the sequence is not.
        if offset < length or (stop is None and data[place]):
            tokens.append((token, TABLE.spelling(token), offset, scores[place]))
    return Folded(text[:length], choice.reason if stop is None else FinishReason.STOP, tokens, num_tokens)


def character_begins(data: bytes) -> list[int]:
    """The byte at which each character begins, with those that stand for bytes that are no text."""
    begins, place = [], 0
    while place < len(data):
        begins.append(place)
        try:
            place += len(data[place:].decode()[0].encode())
        except UnicodeDecodeError as error:
            place += error.end if error.start == 0 else len(data[place : place + error.start].decode()[0].encode())
    return begins


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Spoken], Stops, tuple[int, ...], int]:
    """The choices of one or two prompts, as many for each; how they are stopped; the prompt; how much is echoed."""
    choices = draw(st.lists(spoken(), min_size=1, max_size=3))
    stops = Stops(tuple(draw(stops_in(choices[0].text))), draw(st.booleans()))
    prompt = (*draw(spoken()).tokens, *PROMPT)
    return choices, stops, prompt, draw(st.sampled_from([0, 0, 1, 2, len(prompt)]))


@settings(max_examples=300, deadline=None)
@given(st.data(), cases())
def test_folded_deltas_are_the_answer_read_whole(
    data: st.DataObject, case: tuple[list[Spoken], Stops, tuple[int, ...], int]
) -> None:
    choices, stops, prompt, num_echoed = case
    takes = [data.draw(take_of(choices)) for _ in range(data.draw(st.integers(1, 2)))]

    wanted = [read_whole(choice, stops, prompt, num_echoed) for choice in choices]
    assert fold(takes, stops, prompt, num_echoed) == wanted * len(takes)


def cut_in_two(choice: Spoken) -> list[list[TokenOutput]]:
    """Every take of two steps."""
    tokens, reason = choice.tokens, choice.reason
    return [[TokenOutput(0, tokens[:i]), TokenOutput(0, tokens[i:], reason)] for i in range(len(tokens) + 1)]


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("stream", RECORDED, ids=lambda stream: stream.text[:8])
def test_what_a_model_said_may_be_cut_anywhere(stream: Spoken, include: bool) -> None:
    """Stopped by its own middle, by its last character, by nothing."""
    text = stream.text.rstrip("\ufffd")
    middle = len(text) // 2
    for strings in ((), (text[middle : middle + 4],), (text[-1],), (text[middle - 1 : middle + 2], text[middle])):
        stops = Stops(strings, include)
        wanted = read_whole(stream, stops, PROMPT, 0)
        for take in cut_in_two(stream):
            assert fold([take], stops, PROMPT, 0) == [wanted]


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize(
    ("words", "stops", "before", "stop", "num_tokens"),
    [
        (["one", " two", " three"], [" two"], "one", " two", 2),
        (["one", " t", "wo th", "ree"], ["two"], "one ", "two", 3),  # spans tokens
        (["one", " two"], ["x", "wo", "y"], "one t", "wo", 2),  # ends in the last token
        (["abc", "de"], ["abcd", "cde"], "", "abcd", 2),  # overlapping
        (["abc", "de"], ["bcd", "c"], "ab", "c", 1),  # one inside another: the inner is complete first
        (["abc", "de"], ["bc", "abc"], "", "abc", 1),  # complete at the same character: the longest
        (["a\n", "\nb"], ["\n\n"], "a", "\n\n", 2),
        (["a👩", "\u200d👩", " b"], ["\u200d👩"], "a👩", "\u200d👩", 2),
        (["e", "\u0301", "a"], ["\u0301"], "e", "\u0301", 2),  # a combining mark alone
        (["ab", "ab"], ["abx"], "abab", "", 2),  # begins in the last token, and never ends
    ],
)
def test_an_answer_ends_at_its_stop_string(
    words: list[str], stops: list[str], before: str, stop: str, num_tokens: int, include: bool
) -> None:
    choice = Spoken(tuple(TABLE.id_of(word.encode()) for word in words), FinishReason.LENGTH)
    for take in cut_in_two(choice):
        (folded,) = fold([take], Stops(tuple(stops), include), PROMPT, 0)
        assert (folded.text, folded.num_tokens) == (before + stop if include else before, num_tokens)
        assert folded.reason == (FinishReason.STOP if stop else FinishReason.LENGTH)


@pytest.mark.parametrize(
    ("tokens", "text", "offsets"),
    [
        ([b"a", b"\xf0\x9f", b"\x8e\x86", b"b"], "a🎆b", [0, 1, 1, 2]),
        ([b"a\xf0\x9f\x8e", b"\x86b", b"c"], "a🎆bc", [0, 1, 3]),
        ([b"\xff", b"a"], "\ufffda", [0, 1]),
        ([b" \xe5", b"\x8c", b"go"], " \ufffdgo", [0, 1, 2]),  # recorded: half a character, and then a word
        ([b"\xc3", b"\xc3\xa9", b"a"], "\ufffdéa", [0, 1, 2]),
        ([b"\xe2\x80", b"\xff", b"a"], "\ufffd\ufffda", [0, 1, 2]),
    ],
)
def test_a_token_begins_at_its_first_byte(tokens: list[bytes], text: str, offsets: list[int]) -> None:
    choice = Spoken(tuple(map(TABLE.id_of, tokens)), FinishReason.LENGTH)

    for take in cut_in_two(choice):
        (folded,) = fold([take], Stops(), PROMPT, 0)
        assert (folded.text, [offset for _, _, offset, _ in folded.tokens]) == (text, offsets)
