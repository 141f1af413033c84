"""What a key may use, minute by minute, on a clock that the test turns."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.accounts.access import ANONYMOUS, Caller, Limits
from crossette.accounts.limits import Allowance, Limiter, Reservation
from crossette.accounts.token_bucket import TokenBucket
from crossette.errors import BudgetSpent, Forbidden, RateLimited


def caller(key_id: str = "key", **limits: int) -> Caller:
    return Caller(key_id, key_id, limits=Limits(**limits))


def begin(limiter: Limiter, who: Caller, now: float, prompt_tokens: int = 1, most_generated: int = 0) -> Reservation:
    """Let a request in as the server does: it comes, it is read, and it leaves if it is refused then."""
    lease = limiter.begin(who, now)
    assert lease is not None
    try:
        lease.admit(prompt_tokens, most_generated, limiter.used_tokens(who), now)
    except (RateLimited, BudgetSpent):
        lease.cancel(now, took_request=False)
        raise
    return lease


def refusal(limiter: Limiter, who: Caller, now: float, prompt_tokens: int = 1) -> RateLimited:
    with pytest.raises(RateLimited) as raised:
        begin(limiter, who, now, prompt_tokens)
    return raised.value


# --- a bucket ---


def test_a_bucket_is_full_at_first_and_never_more_than_full() -> None:
    bucket = TokenBucket(60, now=0)

    assert (bucket.level(0), bucket.level(1000)) == (60, 60)


def test_a_bucket_fills_evenly() -> None:
    bucket = TokenBucket(60, now=0)
    bucket.take(60, now=0)

    assert [bucket.level(now) for now in (0, 1, 30, 60)] == [0, 1, 30, 60]


def test_a_bucket_in_debt_fills_from_below_zero() -> None:
    bucket = TokenBucket(60, now=0)
    bucket.take(90, now=0)

    assert (bucket.level(0), bucket.wait_s(1, 0), bucket.wait_s(1, 31)) == (-30, 31, 0)


def test_more_than_a_bucket_holds_waits_until_it_is_full() -> None:
    bucket = TokenBucket(60, now=0)
    bucket.take(10, now=0)

    assert bucket.wait_s(1000, 0) == 10


@given(
    st.integers(1, 10**7),
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1000)), max_size=20),
    st.integers(1, 10**6),
)
def test_who_waits_as_long_as_told_is_let_in(per_minute: int, taken: list[tuple[int, float]], amount: int) -> None:
    now = 0.0
    bucket = TokenBucket(per_minute, now)
    for used, seconds in taken:
        now += seconds
        bucket.take(used, now)

    assert bucket.wait_s(amount, now + bucket.wait_s(amount, now)) == 0


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(60, now=100)
    bucket.take(60, now=100)

    assert bucket.level(50) == 0
    bucket.take(0, now=50)
    assert bucket.level(100) == 0


# --- requests and tokens a minute ---


def test_a_caller_without_limits_is_not_counted() -> None:
    assert Limiter().begin(ANONYMOUS, 0) is None


def test_requests_are_taken_as_they_begin_and_come_back_with_time() -> None:
    limiter, who = Limiter(), caller(requests_per_minute=2)
    begin(limiter, who, 0)
    begin(limiter, who, 0)

    refused = refusal(limiter, who, 0)

    assert refused.retry_after == 30
    assert refused.message == "This key's limit is 2 requests a minute, and 0 are left. Retry in 30.0 s."
    begin(limiter, who, 30)
    assert refusal(limiter, who, 31).retry_after == 29


def test_a_refused_request_takes_nothing() -> None:
    limiter, who = Limiter(), caller(requests_per_minute=2, prompt_tokens_per_minute=100)
    begin(limiter, who, 0, prompt_tokens=60)

    refused = refusal(limiter, who, 0, prompt_tokens=50)

    assert refused.retry_after == 6
    assert refused.message == (
        "The prompt has 50 tokens. This key's limit is 100 prompt tokens a minute, and 40 are left. Retry in 6.0 s."
    )
    begin(limiter, who, 0, prompt_tokens=40)


def test_a_prompt_over_the_limit_of_a_minute_goes_through_a_full_bucket_and_leaves_a_debt() -> None:
    limiter, who = Limiter(), caller(prompt_tokens_per_minute=100)
    begin(limiter, who, 0, prompt_tokens=300)

    assert refusal(limiter, who, 0).retry_after == pytest.approx(60 * 201 / 100)


def test_what_was_generated_is_taken_at_the_end_and_the_next_request_waits_it_out() -> None:
    limiter, who = Limiter(), caller(generated_tokens_per_minute=60)
    leases = [begin(limiter, who, 0), begin(limiter, who, 0)]

    for lease in leases:
        lease.end(cached_tokens=0, generated_tokens=50, now=10)

    refused = refusal(limiter, who, 10)
    assert refused.retry_after == 41  # 40 in debt, and one token to go on with
    assert "the last requests used 40 more than that" in refused.message
    begin(limiter, who, 51)


def test_requests_under_way_are_expected_to_cost_what_those_before_them_did() -> None:
    """Or any number of them could begin together, and whoever was told when to return would be told so again."""
    limiter, who = Limiter(), caller(generated_tokens_per_minute=60)
    begin(limiter, who, 0).end(cached_tokens=0, generated_tokens=40, now=0)
    first = begin(limiter, who, 60)
    second = begin(limiter, who, 60)

    refused = refusal(limiter, who, 60)

    assert refused.retry_after == 21
    for lease in (first, second):
        lease.end(cached_tokens=0, generated_tokens=40, now=60)
    refusal(limiter, who, 80)
    begin(limiter, who, 60 + refused.retry_after)


def test_the_time_to_come_back_goes_on_while_a_request_runs_whose_like_cost_more_than_a_minute_gives() -> None:
    """A bucket that is full, and holds less than one answer usually has, is no reason to say the same time again."""
    limiter, who = Limiter(), caller(generated_tokens_per_minute=100)
    begin(limiter, who, 0).end(cached_tokens=0, generated_tokens=250, now=0)
    running = begin(limiter, who, 1000)

    told = [refusal(limiter, who, 1000 + waited).retry_after for waited in (0, 60, 90)]
    assert told == [pytest.approx(60 * 151 / 100 - waited) for waited in (0, 60, 90)]
    second = begin(limiter, who, 1000 + told[0])  # whether the first runs or has ended

    refused = refusal(limiter, who, 1000 + told[0])
    assert refused.message.startswith(
        "This key's limit is 100 generated tokens a minute, "
        "and the last requests used, or may use before they end, 249 more than that."
    )
    running.end(cached_tokens=0, generated_tokens=250, now=1100)
    second.cancel(1100)
    begin(limiter, who, 1100)


def test_what_a_request_is_expected_to_cost_is_corrected_when_it_ends() -> None:
    limiter, who = Limiter(), caller(generated_tokens_per_minute=1000)
    begin(limiter, who, 0).end(cached_tokens=0, generated_tokens=200, now=0)
    lease = begin(limiter, who, 60)
    account = limiter.account(who, 60)
    assert account is not None
    left = [account.allowances(60)[0].left]
    lease.end(cached_tokens=0, generated_tokens=20, now=60)
    left.append(account.allowances(60)[0].left)
    begin(limiter, who, 60).cancel(60)
    left.append(account.allowances(60)[0].left)

    assert left == [800, 980, 980]


def test_what_is_expected_of_a_request_itself_does_not_refuse_it() -> None:
    limiter, who = Limiter(), caller(generated_tokens_per_minute=100, prompt_tokens_per_minute=100)
    begin(limiter, who, 0).end(cached_tokens=0, generated_tokens=250, now=0)
    lease = limiter.begin(who, 1000)
    assert lease is not None

    lease.admit(100, 0, 0, 1000)


@dataclass(frozen=True)
class Cost:
    """A request of another: how long it runs, and what it costs of what one like it usually does."""

    seconds: float
    share: float


@given(
    st.integers(1, 1000),
    st.integers(1, 10_000),
    st.lists(st.builds(Cost, st.floats(0.1, 5000), st.floats(0, 3)), max_size=5),
    st.booleans(),
)
def test_who_comes_back_when_told_is_let_in_unless_others_cost_more_than_usual(
    per_minute: int, usual: int, others: list[Cost], is_cached: bool
) -> None:
    """At the first return where nobody costs more; else at one more for each that does."""
    rate = "cached" if is_cached else "generated"
    limiter, who = Limiter(), caller("key", **{f"{rate}_tokens_per_minute": per_minute})

    def end(lease: Reservation, cost: int, now: float) -> None:
        lease.end(cached_tokens=cost, generated_tokens=cost, now=now)

    end(begin(limiter, who, 0), usual, now=0)
    now = 60.0 * (2 + usual / per_minute)
    ends: list[tuple[float, Reservation, int]] = []
    for other in others:
        with suppress(RateLimited):
            ends.append((now + other.seconds, begin(limiter, who, now), int(usual * other.share)))

    num_refused = 0
    while True:
        for ended in sorted((one for one in ends if one[0] <= now), key=lambda one: one[0]):
            end(ended[1], ended[2], ended[0])
        try:
            begin(limiter, who, now)
            break
        except RateLimited as refused:
            num_refused += 1
            now += refused.retry_after

    assert num_refused <= 1 + sum(cost > usual for _, _, cost in ends)


def test_cached_tokens_have_a_limit_of_their_own() -> None:
    limiter, who = Limiter(), caller(cached_tokens_per_minute=60)
    begin(limiter, who, 0, prompt_tokens=500).end(cached_tokens=90, generated_tokens=7, now=0)

    assert refusal(limiter, who, 0).retry_after == 31


def test_the_longest_of_the_waits_is_told() -> None:
    limiter, who = Limiter(), caller(requests_per_minute=60, generated_tokens_per_minute=60)
    leases = [begin(limiter, who, 0) for _ in range(60)]
    for lease in leases:
        lease.end(cached_tokens=0, generated_tokens=1, now=0)
    lease = begin(limiter, who, 1)
    lease.end(cached_tokens=0, generated_tokens=20, now=1)

    assert refusal(limiter, who, 1).retry_after == 20


def test_keys_do_not_share_their_limits() -> None:
    limiter = Limiter()
    begin(limiter, caller("a", requests_per_minute=1), 0)
    begin(limiter, caller("b", requests_per_minute=1), 0)

    refusal(limiter, caller("a", requests_per_minute=1), 0)


def test_a_key_whose_limits_are_changed_begins_anew() -> None:
    limiter = Limiter()
    lease = begin(limiter, caller(requests_per_minute=1, concurrent_requests=1), 0)

    begin(limiter, caller(requests_per_minute=5, concurrent_requests=1), 0)
    lease.end(cached_tokens=0, generated_tokens=0, now=0)

    refusal(limiter, caller(requests_per_minute=5, concurrent_requests=1), 0)


def test_a_key_whose_limits_were_taken_away_meanwhile_begins_anew() -> None:
    limiter, who = Limiter(), caller(requests_per_minute=1)
    begin(limiter, who, 0)
    assert limiter.begin(caller(), 0) is None

    begin(limiter, who, 0)


def test_a_refusal_speaks_of_a_prompt_only_where_one_was_read() -> None:
    limiter, who = Limiter(), caller(prompt_tokens_per_minute=100, requests_per_minute=100)
    begin(limiter, who, 0, prompt_tokens=50)

    assert "The prompt has 60 tokens. This key's limit is 100 prompt tokens" in refusal(limiter, who, 0, 60).message
    begin(limiter, who, 0, prompt_tokens=50)
    assert refusal(limiter, who, 0).message.startswith("This key's limit is 100 prompt tokens a minute, and 0 are left")


def test_a_limit_of_nothing_is_forbidden_and_not_retried() -> None:
    for limit in ("requests_per_minute", "generated_tokens_per_minute", "concurrent_requests"):
        with pytest.raises(Forbidden, match="limit is 0"):
            Limiter().begin(Caller("key", "key", limits=replace(Limits(), **{limit: 0})), 0)


# --- at once, and in all ---


def test_concurrent_requests_are_those_that_have_not_ended() -> None:
    limiter, who = Limiter(), caller(concurrent_requests=2)
    first, second = begin(limiter, who, 0), begin(limiter, who, 0)

    assert "2 requests of this key are in flight and 2 is the limit" in refusal(limiter, who, 0).message
    first.end(cached_tokens=0, generated_tokens=1, now=1)
    second.cancel(1)
    begin(limiter, who, 1)
    begin(limiter, who, 1)


def test_the_wait_for_a_concurrent_request_is_what_the_oldest_should_still_take() -> None:
    limiter, who = Limiter(), caller(concurrent_requests=1)
    begin(limiter, who, 0).end(cached_tokens=0, generated_tokens=1, now=20)
    begin(limiter, who, 100)

    assert refusal(limiter, who, 104).retry_after == 16
    assert refusal(limiter, who, 150).retry_after == 1


def test_a_budget_is_spent_when_the_ledger_says_so() -> None:
    limiter, who = Limiter(lambda key_id: 100), caller(total_tokens=100)

    with pytest.raises(BudgetSpent, match="100 tokens in all, and 100 are used\\. Ask whoever made"):
        limiter.begin(who, 0)


def test_what_is_left_of_a_budget_is_what_nobody_has_set_aside() -> None:
    limiter, who = Limiter(lambda key_id: 50), caller(total_tokens=100)
    first = begin(limiter, who, 0, prompt_tokens=10, most_generated=20)
    second = begin(limiter, who, 0)

    assert (second.left(50), first.left(50)) == (20, 49)


def test_a_request_sets_aside_all_that_it_could_use_of_the_budget() -> None:
    limiter, who = Limiter(lambda key_id: 50), caller(total_tokens=100)
    first = begin(limiter, who, 0, prompt_tokens=10, most_generated=20)

    with pytest.raises(BudgetSpent, match="The prompt has 10 tokens and the answer may have 41, which is 1 too many"):
        begin(limiter, who, 0, 10, 41)
    with pytest.raises(RateLimited, match="50 are used, and 30 are set aside for requests that run"):
        begin(limiter, who, 0, 10, 11)
    begin(limiter, who, 0, 10, 10)
    assert "50 are set aside" in refusal(limiter, who, 0).message
    first.cancel(0)
    begin(limiter, who, 0, 10, 20)


def test_what_was_used_is_set_aside_until_the_ledger_knows_it() -> None:
    used = {"key": 0}
    limiter, who = Limiter(lambda key_id: used[key_id]), caller(total_tokens=100)
    lease = begin(limiter, who, 0, prompt_tokens=30, most_generated=70)
    lease.end(cached_tokens=0, generated_tokens=10, now=1)

    assert "40 are set aside" in str(refusal(limiter, who, 1, prompt_tokens=61))
    lease.settle()
    used["key"] = 40
    begin(limiter, who, 1, prompt_tokens=10, most_generated=50)


@given(st.integers(1, 500), st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1)), max_size=40))
def test_a_budget_is_never_overdrawn(budget: int, asked: list[tuple[int, int, float]]) -> None:
    used = 0
    limiter, who = Limiter(lambda key_id: used), caller(total_tokens=budget)
    running: list[tuple[Reservation, int, int]] = []
    for number, (prompt, most, share) in enumerate(asked):
        with suppress(RateLimited, BudgetSpent):
            running.append((begin(limiter, who, number, prompt, most), prompt, int(most * share)))
        if running and number % 3 == 0:
            lease, prompt, generated = running.pop(0)
            lease.end(cached_tokens=0, generated_tokens=generated, now=number)
            lease.settle()
            used += prompt + generated

    assert used + sum(prompt + generated for _, prompt, generated in running) <= budget


def test_a_cancelled_request_gives_its_prompt_back_but_counts() -> None:
    limiter, who = Limiter(), caller(requests_per_minute=10, prompt_tokens_per_minute=100)
    begin(limiter, who, 0, prompt_tokens=100).cancel(0)

    account = limiter.account(who, 0)

    assert account is not None
    assert account.allowances(0) == [Allowance("requests", 10, 9, 6.0), Allowance("prompt_tokens", 100, 100, 0.0)]


def test_of_several_prompts_those_that_were_not_computed_are_given_back() -> None:
    limiter, who = Limiter(), caller(prompt_tokens_per_minute=100, total_tokens=200)
    lease = begin(limiter, who, 0, prompt_tokens=100, most_generated=50)
    lease.end(prompt_tokens=30, cached_tokens=0, generated_tokens=7, now=0)

    account = limiter.account(who, 0)

    assert account is not None
    assert account.allowances(0) == [Allowance("prompt_tokens", 100, 70, 18.0)]
    assert "37 are set aside" in str(refusal(limiter, who, 0, prompt_tokens=170))


def test_only_the_first_end_counts() -> None:
    limiter, who = Limiter(), caller(generated_tokens_per_minute=60)
    lease = begin(limiter, who, 0)
    lease.end(cached_tokens=0, generated_tokens=10, now=0)
    lease.end(cached_tokens=0, generated_tokens=10, now=0)
    lease.cancel(0)

    account = limiter.account(who, 0)

    assert account is not None
    assert account.allowances(0) == [Allowance("generated_tokens", 60, 50, 10.0)]


def test_a_debt_is_shown_as_nothing_left() -> None:
    limiter, who = Limiter(), caller(generated_tokens_per_minute=60)
    begin(limiter, who, 0).end(cached_tokens=0, generated_tokens=90, now=0)

    account = limiter.account(who, 0)

    assert account is not None
    assert account.allowances(0) == [Allowance("generated_tokens", 60, 0, 90.0)]
