"""Draft tokens by prompt lookup: their content, length and pauses."""

from __future__ import annotations

from crossette.engines.openvino.drafts import PromptLookup, RecentLookups
from crossette.engines.openvino.sequence import SampledToken
from support.schedules import add, make_scheduler, make_sequence


def test_the_tokens_after_the_last_trigram_are_proposed() -> None:
    assert PromptLookup((), (1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3)).propose(3) == (4, 5, 6)


def test_the_latest_occurrence_wins_and_the_end_of_the_text_is_none() -> None:
    assert PromptLookup((), (1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3)).propose(1) == (5,)
    assert PromptLookup((), (1, 2, 3)).propose(4) == ()


def test_the_prediction_is_searched_too() -> None:
    lookup = PromptLookup((1, 2, 3, 4, 5), (9, 9))
    for token in (1, 2, 3):
        lookup.append(token)

    assert lookup.propose(8)[:2] == (4, 5)


def test_accepted_drafts_grow_to_sixteen_and_rejected_ones_shrink_and_pause() -> None:
    lookup = PromptLookup((), (*range(100), 0, 1, 2))
    lengths = []
    for _ in range(4):
        proposed = lookup.propose(100)
        lengths.append(len(proposed))
        lookup.update(len(proposed), len(proposed))
    assert lengths == [4, 8, 16, 16]

    proposed_lengths = []
    for _ in range(12):
        proposed = lookup.propose(100)
        proposed_lengths.append(len(proposed))
        if proposed:
            lookup.update(len(proposed), 0)
    assert proposed_lengths == [16, 0, 8, 0, 0, 4, 0, 0, 0, 0, 2, 0]


def test_recent_texts_are_searched_after_the_own_one_the_newest_first() -> None:
    recent = RecentLookups()
    for text in ((1, 2, 3, 40), (1, 2, 3, 50, 60), (7, 8, 9)):
        recent.add("ann", PromptLookup((), text))

    assert PromptLookup((), (0, 1, 2, 3), recent.of("ann")).propose(4) == (50, 60)
    assert PromptLookup((), (1, 2, 3, 4, 1, 2, 3), recent.of("ann")).propose(2) == (4, 1)


def test_texts_of_other_owners_are_never_searched() -> None:
    recent = RecentLookups()
    recent.add(("ann", ""), PromptLookup((), (1, 2, 3, 4)))

    for owner in (("bob", ""), ("ann", "case-1")):
        assert PromptLookup((), (1, 2, 3), recent.of(owner)).propose(4) == ()


def test_the_oldest_texts_give_way() -> None:
    recent = RecentLookups(max_tokens=10)
    for first in (0, 10, 20):
        recent.add("ann", PromptLookup((), range(first, first + 4)))

    found = [PromptLookup((), range(first, first + 3), recent.of("ann")).propose(1) for first in (0, 10, 20)]
    assert found == [(), (13,), (23,)]


def test_kept_drafters_hold_no_others() -> None:
    recent = RecentLookups()
    recent.add("ann", PromptLookup((), (1, 2, 3, 4)))
    recent.add("ann", PromptLookup((), (1, 2, 3), recent.of("ann")))

    assert all(lookup._recent == () for lookup in recent.of("ann"))


def test_an_answer_is_drafted_from_an_earlier_one() -> None:
    """The same question again: the answer is none of the prompt's text."""
    scheduler = make_scheduler(num_blocks=60)
    scheduler.max_draft_rows = 8
    drafts = []
    for arrival in (0, 1):
        sequence = make_sequence(arrival, prompt=tuple(range(40)), max_output=20)
        add(scheduler, sequence)
        for token in range(100, 120):
            batch = scheduler.schedule()
            drafts += [span.drafts for span in batch.spans if span.drafts]
            scheduler.update(batch, [SampledToken(sequence, (token,))])

    assert drafts[0] == (101, 102, 103, 104)
    assert scheduler.idle
