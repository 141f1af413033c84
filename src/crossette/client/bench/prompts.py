"""Benchmark prompts of about a given length in tokens: common English words are one token each in most vocabularies.

With the vocabulary of SmolLM2 every word is one token, and the length is exact.
The server's usage has the actual length. The same seed and index give the same prompt.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_TASK = "\n\nWrite a long story with these words."
_NUM_TASK_TOKENS = 10
_NUM_QUESTION_TOKENS = 32
_FIRST_ID, _END_ID = 100, 10_000
"""Ids of ordinary tokens in all common vocabularies: control tokens have lower or much higher ids."""

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
    """The input of a request: the shared part (or "") and its own part, or the token ids of both."""

    shared: str = ""
    own: str = ""
    ids: tuple[int, ...] = ()


class Prompts:
    """The prompts of a run, by index. Apart from the shared part no two have a common prefix.

    The first words of two prompts differ if their indexes differ by less than the number of words, and the first two
    words of all prompts of a run differ, so that the prefix cache finds nothing to reuse.
    """

    def __init__(self, shape: str, num_tokens: int, seed: int, *, token_ids: bool = False) -> None:
        self._seed = seed
        self._token_ids = token_ids
        self._num_own = _NUM_QUESTION_TOKENS if shape == "shared" else num_tokens
        self._num_shared = num_tokens if shape == "shared" else 0
        self._openers = random.Random(f"{seed}:openers").sample(_WORDS, len(_WORDS))
        # The shared part is generated like a prompt, with an index that no prompt has.
        self._shared = self._generate(-1, self._num_shared)

    def __getitem__(self, index: int) -> Prompt:
        if self._token_ids:
            return Prompt(ids=self._shared_ids() + self._ids(index, self._num_own))
        num_words = max(1, self._num_own - _NUM_TASK_TOKENS)
        return Prompt(shared=self._shared, own=self._generate(index, num_words) + _TASK)

    def _generate(self, index: int, num_words: int) -> str:
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
