"""Prompts of about a given length, without knowing the tokenizer: common English words are one token each.

With the vocabulary of SmolLM2 every word is one, and the length is exact.
What they really were is in the usage that the server reports. The same seed and index give the same prompt.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_TASK = "\n\nWrite a long story with these words."
_NUM_TASK_TOKENS = 10
_NUM_QUESTION_TOKENS = 32
_FIRST_ID, _END_ID = 100, 10_000
"""Ids that are ordinary tokens in every common vocabulary: control tokens lie below or far above."""

_TEXT = """
time year people way day man thing woman life child world school state family student group country problem
hand part place case week company system program question work government number night point home water room
mother area money story fact month lot right study book eye job word business issue side kind head house
service friend father power hour game line end member law car city community name president team minute idea
body information back parent face level office door health person art war history party result change
morning reason research girl guy moment air teacher force education foot boy age policy music market sense
nation plan college interest death experience effect use class control field development role effort rate
heart show leader light voice wife police mind price report decision son view relationship town road arm
difference value building action season society tax director position player record paper space ground form
event official matter center couple site project activity star table need court oil situation cost industry
figure street image phone data picture practice piece land product doctor wall patient worker news test
movie north love support technology step baby computer type attention film tree source organization hair
look century evidence window culture chance brother energy period course summer plant opportunity term
letter condition choice rule daughter south husband floor campaign material population call economy hospital
church fire future risk bank west sport board subject officer rest behavior performance fight top goal bed
order author blood agency nature color store sound movement page race concern series language response
animal factor decade article east artist scene stock career treatment approach size fund media sign thought
list individual quality pressure answer resource meeting disease success cup amount ability staff character
growth loss degree attack region television box training trade deal election feeling standard bill message
analysis benefit lawyer section glass skill sister professor operation crime stage authority design sort
knowledge station strategy truth song example environment leg dark public executive set rock note manager
network help science memory card seat cell
"""
_WORDS = _TEXT.split()


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request's input: what all prompts share (or ""), and what is its own; or the ids of both."""

    shared: str = ""
    own: str = ""
    ids: tuple[int, ...] = ()


class Prompts:
    """The prompts of a run by number. No two begin alike, but for what `shared` prompts share.

    The first word tells apart any prompts whose numbers differ by less than the count of words,
    the first two words all that a run can have: a prefix cache finds nothing to reuse.
    """

    def __init__(self, shape: str, num_tokens: int, seed: int, *, token_ids: bool = False) -> None:
        self._seed = seed
        self._token_ids = token_ids
        self._num_own = _NUM_QUESTION_TOKENS if shape == "shared" else num_tokens
        self._num_shared = num_tokens if shape == "shared" else 0
        self._openers = random.Random(f"{seed}:openers").sample(_WORDS, len(_WORDS))
        # A number that no index has: the shared part is drawn like a prompt of its own.
        self._shared = self._draw(-1, self._num_shared)

    def __getitem__(self, index: int) -> Prompt:
        if self._token_ids:
            return Prompt(ids=self._shared_ids() + self._ids(index, self._num_own))
        num_words = max(1, self._num_own - _NUM_TASK_TOKENS)
        return Prompt(shared=self._shared, own=self._draw(index, num_words) + _TASK)

    def _draw(self, index: int, num_words: int) -> str:
        second, first = divmod(index, len(_WORDS))
        opening = [self._openers[first], self._openers[second % len(_WORDS)]]
        rest = random.Random(f"{self._seed}:{index}").choices(_WORDS, k=max(0, num_words - 2))
        return " ".join((opening + rest)[:num_words])

    def _shared_ids(self) -> tuple[int, ...]:
        return self._ids(-1, self._num_shared)

    def _ids(self, index: int, num_ids: int) -> tuple[int, ...]:
        numbers = random.Random(f"{self._seed}:{index}")
        second, first = divmod(index, _END_ID - _FIRST_ID)
        opening = [_id(first + self._seed), _id(second)]
        rest = [numbers.randrange(_FIRST_ID, _END_ID) for _ in range(num_ids - 2)]
        return tuple((opening + rest)[:num_ids])


def _id(number: int) -> int:
    return _FIRST_ID + number % (_END_ID - _FIRST_ID)
