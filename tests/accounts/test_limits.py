"""Rate limits, concurrency limits and budgets of keys, with the time as an argument."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.accounts.access import ANONYMOUS, Caller, Limits
from crossette.accounts.limits import Limiter, Reservation
from crossette.accounts.standing import Allowance
from crossette.accounts.token_bucket import TokenBucket
from crossette.errors import BudgetSpent, Forbidden, RateLimited


def caller(key_id: str = "key", **limits: int) -> Caller:
    return Caller(key_id, key_id, limits=Limits(**limits))


def begin(limiter: Limiter, key: Caller, now: float, prompt_tokens: int = 1, most_generated: int = 0) -> Reservation:
    """Reserve and admit a request as the server does; cancel it if it is rejected after it was read."""
    reservation = limiter.begin(key, now)
    assert reservation is not None
    try:
        reservation.admit(prompt_tokens, most_generated, limiter.used_tokens(key), now)
    except (RateLimited, BudgetSpent):
        reservation.cancel(now, took_request=False)
        raise
    return reservation


def rejection(limiter: Limiter, key: Caller, now: float, prompt_tokens: int = 1) -> RateLimited:
    with pytest.raises(RateLimited) as raised:
        begin(limiter, key, now, prompt_tokens)
    return raised.value


# --- a bucket ---


def test_a_bucket_is_full_at_first_and_never_more_than_full() -> None:
    bucket = TokenBucket(60, now=0)

    assert (bucket.level(0), bucket.level(1000)) == (60, 60)


def test_a_bucket_fills_at_a_constant_rate() -> None:
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
def test_after_the_wait_the_amount_is_available(per_minute: int, taken: list[tuple[int, float]], amount: int) -> None:
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


# --- requests and tokens per minute ---


def test_a_caller_without_limits_is_not_counted() -> None:
    assert Limiter().begin(ANONYMOUS, 0) is None


def test_requests_count_when_they_begin_and_are_refilled_over_time() -> None:
    limiter, key = Limiter(), caller(requests_per_minute=2)
    begin(limiter, key, 0)
    begin(limiter, key, 0)

    rejected = rejection(limiter, key, 0)

    assert rejected.retry_after == 30
    assert rejected.message == "This key's limit is 2 requests per minute, and 0 remain. Retry in 30.0 s."
    begin(limiter, key, 30)
    assert rejection(limiter, key, 31).retry_after == 29


def test_a_rejected_request_takes_nothing() -> None:
    limiter, key = Limiter(), caller(requests_per_minute=2, prompt_tokens_per_minute=100)
    begin(limiter, key, 0, prompt_tokens=60)

    rejected = rejection(limiter, key, 0, prompt_tokens=50)

    assert rejected.retry_after == 6
    assert rejected.message == (
        "The prompt has 50 tokens. This key's limit is 100 prompt tokens per minute, and 40 remain. Retry in 6.0 s."
    )
    begin(limiter, key, 0, prompt_tokens=40)


def test_a_prompt_over_the_limit_of_a_minute_goes_through_a_full_bucket_and_leaves_a_debt() -> None:
    limiter, key = Limiter(), caller(prompt_tokens_per_minute=100)
    begin(limiter, key, 0, prompt_tokens=300)

    assert rejection(limiter, key, 0).retry_after == pytest.approx(60 * 201 / 100)


def test_what_was_generated_is_taken_at_the_end_and_the_next_request_waits_it_out() -> None:
    limiter, key = Limiter(), caller(generated_tokens_per_minute=60)
    reservations = [begin(limiter, key, 0), begin(limiter, key, 0)]

    for reservation in reservations:
        reservation.end(cached_tokens=0, generated_tokens=50, now=10)

    rejected = rejection(limiter, key, 10)
    assert rejected.retry_after == 41  # an overdraft of 40, and one token to continue
    assert "recent requests used 40 more than that" in rejected.message
    begin(limiter, key, 51)


def test_running_requests_are_expected_to_cost_as_much_as_earlier_ones() -> None:
    """Otherwise any number of them could begin together, and a client that retries in time would be rejected again."""
    limiter, key = Limiter(), caller(generated_tokens_per_minute=60)
    begin(limiter, key, 0).end(cached_tokens=0, generated_tokens=40, now=0)
    first = begin(limiter, key, 60)
    second = begin(limiter, key, 60)

    rejected = rejection(limiter, key, 60)

    assert rejected.retry_after == 21
    for reservation in (first, second):
        reservation.end(cached_tokens=0, generated_tokens=40, now=60)
    rejection(limiter, key, 80)
    begin(limiter, key, 60 + rejected.retry_after)


def test_retry_after_decreases_while_a_request_runs_that_is_expected_to_cost_more_than_a_minute_allows() -> None:
    """A full bucket with fewer tokens than a usual completion must not repeat the same `retry_after`."""
    limiter, key = Limiter(), caller(generated_tokens_per_minute=100)
    begin(limiter, key, 0).end(cached_tokens=0, generated_tokens=250, now=0)
    running = begin(limiter, key, 1000)

    retry_after = [rejection(limiter, key, 1000 + waited).retry_after for waited in (0, 60, 90)]
    assert retry_after == [pytest.approx(60 * 151 / 100 - waited) for waited in (0, 60, 90)]
    second = begin(limiter, key, 1000 + retry_after[0])  # whether the first runs or has ended

    rejected = rejection(limiter, key, 1000 + retry_after[0])
    assert rejected.message.startswith(
        "This key's limit is 100 generated tokens per minute, "
        "and recent requests used, or are expected to use, 249 more than that."
    )
    running.end(cached_tokens=0, generated_tokens=250, now=1100)
    second.cancel(1100)
    begin(limiter, key, 1100)


def test_what_a_request_is_expected_to_cost_is_corrected_when_it_ends() -> None:
    limiter, key = Limiter(), caller(generated_tokens_per_minute=1000)
    begin(limiter, key, 0).end(cached_tokens=0, generated_tokens=200, now=0)
    reservation = begin(limiter, key, 60)
    key_limiter = limiter.key_limiter(key, 60)
    assert key_limiter is not None
    remaining = [key_limiter.standing(0, 60).allowances()[0].remaining]
    reservation.end(cached_tokens=0, generated_tokens=20, now=60)
    remaining.append(key_limiter.standing(0, 60).allowances()[0].remaining)
    begin(limiter, key, 60).cancel(60)
    remaining.append(key_limiter.standing(0, 60).allowances()[0].remaining)

    assert remaining == [800, 980, 980]


def test_the_expected_cost_of_a_request_does_not_reject_itself() -> None:
    limiter, key = Limiter(), caller(generated_tokens_per_minute=100, prompt_tokens_per_minute=100)
    begin(limiter, key, 0).end(cached_tokens=0, generated_tokens=250, now=0)
    reservation = limiter.begin(key, 1000)
    assert reservation is not None

    reservation.admit(100, 0, 0, 1000)


@dataclass(frozen=True)
class Cost:
    """Another request: its duration, and its cost relative to the usual one."""

    seconds: float
    share: float


@given(
    st.integers(1, 1000),
    st.integers(1, 10_000),
    st.lists(st.builds(Cost, st.floats(0.1, 5000), st.floats(0, 3)), max_size=5),
    st.booleans(),
)
def test_a_retry_in_time_is_admitted_unless_others_cost_more_than_usual(
    per_minute: int, usual: int, others: list[Cost], is_cached: bool
) -> None:
    """The first retry is admitted if no other request costs more than usual; else one more for each that does."""
    rate = "cached" if is_cached else "generated"
    limiter, key = Limiter(), caller("key", **{f"{rate}_tokens_per_minute": per_minute})

    def end(reservation: Reservation, cost: int, now: float) -> None:
        reservation.end(cached_tokens=cost, generated_tokens=cost, now=now)

    end(begin(limiter, key, 0), usual, now=0)
    now = 60.0 * (2 + usual / per_minute)
    ends: list[tuple[float, Reservation, int]] = []
    for other in others:
        with suppress(RateLimited):
            ends.append((now + other.seconds, begin(limiter, key, now), int(usual * other.share)))

    num_rejected = 0
    while True:
        for ended in sorted((each for each in ends if each[0] <= now), key=lambda each: each[0]):
            end(ended[1], ended[2], ended[0])
        try:
            begin(limiter, key, now)
            break
        except RateLimited as rejected:
            num_rejected += 1
            now += rejected.retry_after

    assert num_rejected <= 1 + sum(cost > usual for _, _, cost in ends)


def test_cached_tokens_have_a_limit_of_their_own() -> None:
    limiter, key = Limiter(), caller(cached_tokens_per_minute=60)
    begin(limiter, key, 0, prompt_tokens=500).end(cached_tokens=90, generated_tokens=7, now=0)

    assert rejection(limiter, key, 0).retry_after == 31


def test_retry_after_is_the_longest_of_the_waits() -> None:
    limiter, key = Limiter(), caller(requests_per_minute=60, generated_tokens_per_minute=60)
    reservations = [begin(limiter, key, 0) for _ in range(60)]
    for reservation in reservations:
        reservation.end(cached_tokens=0, generated_tokens=1, now=0)
    reservation = begin(limiter, key, 1)
    reservation.end(cached_tokens=0, generated_tokens=20, now=1)

    assert rejection(limiter, key, 1).retry_after == 20


def test_keys_do_not_share_their_limits() -> None:
    limiter = Limiter()
    begin(limiter, caller("a", requests_per_minute=1), 0)
    begin(limiter, caller("b", requests_per_minute=1), 0)

    rejection(limiter, caller("a", requests_per_minute=1), 0)


def test_running_requests_count_after_a_change_of_limits() -> None:
    limiter = Limiter()
    reservation = begin(limiter, caller(concurrent_requests=2), 0)
    begin(limiter, caller(concurrent_requests=2, requests_per_minute=9), 0)

    rejection(limiter, caller(concurrent_requests=2, requests_per_minute=9), 0)
    reservation.end(cached_tokens=0, generated_tokens=0, now=0)

    begin(limiter, caller(concurrent_requests=2, requests_per_minute=9), 0)
    rejection(limiter, caller(concurrent_requests=2, requests_per_minute=9), 0)


def test_what_running_requests_reserve_of_a_budget_stays_after_a_change_of_limits() -> None:
    limiter = Limiter()
    begin(limiter, caller(total_tokens=100), 0, prompt_tokens=10, most_generated=70)
    changed = caller(total_tokens=100, requests_per_minute=9)

    with pytest.raises(RateLimited, match="80 are reserved by running requests"):
        begin(limiter, changed, 0, prompt_tokens=10, most_generated=11)
    begin(limiter, changed, 0, prompt_tokens=10, most_generated=10)


def test_a_larger_budget_applies_to_the_next_request() -> None:
    limiter = Limiter(lambda key_id: 100)
    with pytest.raises(BudgetSpent):
        begin(limiter, caller(total_tokens=100), 0)

    begin(limiter, caller(total_tokens=102), 0)


def test_a_budget_that_is_set_meanwhile_applies_to_a_running_request() -> None:
    limiter, before = Limiter(lambda key_id: 100), caller(requests_per_minute=9)
    reservation = limiter.begin(before, 0)
    assert reservation is not None
    begin(limiter, caller(total_tokens=101), 0)

    with pytest.raises(BudgetSpent):
        reservation.admit(2, 0, limiter.used_tokens(before), 0)


def test_a_rate_that_changes_is_as_full_as_before() -> None:
    limiter = Limiter()
    for _ in range(30):
        begin(limiter, caller(requests_per_minute=60), 0)

    for most, left in ((10, 5), (60, 24), (6, 2)):  # one more request is taken by each
        begin(limiter, caller(requests_per_minute=most), 0)
        allowances = limiter.key_limiter(caller(requests_per_minute=most), 0)
        assert allowances is not None
        assert [allowance.remaining for allowance in allowances.standing(0, 0).allowances()] == [left - 1]


def test_a_debt_takes_as_long_after_a_change_of_limits() -> None:
    limiter = Limiter()
    begin(limiter, caller(generated_tokens_per_minute=60), 0).end(cached_tokens=0, generated_tokens=90, now=0)
    before = rejection(limiter, caller(generated_tokens_per_minute=60), 0).retry_after
    after = rejection(limiter, caller(generated_tokens_per_minute=6_000), 0).retry_after

    assert before == pytest.approx(31)
    assert after == pytest.approx(30.01)


def test_a_request_that_began_before_a_change_of_limits_does_not_revert_it() -> None:
    limiter, old, new = Limiter(), caller(requests_per_minute=2), caller(requests_per_minute=4)
    begin(limiter, old, 0)
    begin(limiter, new, 0)

    for earlier in (old, caller()):  # its response headers state the limits at its end
        limiter.key_limiter(earlier, 0)

    limits = limiter.key_limiter(new, 0)
    assert limits is not None and limits.limits == new.limits


def test_limits_that_were_removed_for_a_while_count_what_was_used_before() -> None:
    limiter, key = Limiter(), caller(requests_per_minute=1)
    begin(limiter, key, 0)
    assert limiter.begin(caller(), 0) is None

    rejection(limiter, key, 0)


def test_a_rejection_mentions_the_prompt_only_if_it_was_read() -> None:
    limiter, key = Limiter(), caller(prompt_tokens_per_minute=100, requests_per_minute=100)
    begin(limiter, key, 0, prompt_tokens=50)

    assert "The prompt has 60 tokens. This key's limit is 100 prompt tokens" in rejection(limiter, key, 0, 60).message
    begin(limiter, key, 0, prompt_tokens=50)
    assert rejection(limiter, key, 0).message.startswith(
        "This key's limit is 100 prompt tokens per minute, and 0 remain"
    )


def test_a_limit_of_zero_is_forbidden_and_not_retried() -> None:
    for limit in ("requests_per_minute", "generated_tokens_per_minute", "concurrent_requests"):
        with pytest.raises(Forbidden, match="limit is 0"):
            Limiter().begin(Caller("key", "key", limits=replace(Limits(), **{limit: 0})), 0)


# --- concurrency and budgets ---


def test_concurrent_requests_are_those_that_have_not_ended() -> None:
    limiter, key = Limiter(), caller(concurrent_requests=2)
    first, second = begin(limiter, key, 0), begin(limiter, key, 0)

    assert "2 requests of this key are in flight and 2 is the limit" in rejection(limiter, key, 0).message
    first.end(cached_tokens=0, generated_tokens=1, now=1)
    second.cancel(1)
    begin(limiter, key, 1)
    begin(limiter, key, 1)


def test_the_wait_for_a_concurrent_request_is_what_the_oldest_should_still_take() -> None:
    limiter, key = Limiter(), caller(concurrent_requests=1)
    begin(limiter, key, 0).end(cached_tokens=0, generated_tokens=1, now=20)
    begin(limiter, key, 100)

    assert rejection(limiter, key, 104).retry_after == 16
    assert rejection(limiter, key, 150).retry_after == 1


def test_a_budget_is_spent_according_to_the_ledger() -> None:
    limiter, key = Limiter(lambda key_id: 100), caller(total_tokens=100)

    with pytest.raises(BudgetSpent, match="budget of this key is 100 tokens, and 100 are used\\. Ask the"):
        limiter.begin(key, 0)


def test_the_remaining_budget_excludes_the_reservations_of_others() -> None:
    limiter, key = Limiter(lambda key_id: 50), caller(total_tokens=100)
    first = begin(limiter, key, 0, prompt_tokens=10, most_generated=20)
    second = begin(limiter, key, 0)

    assert (second.remaining(50), first.remaining(50)) == (20, 49)


def test_a_request_reserves_the_budget_for_all_that_it_could_use() -> None:
    limiter, key = Limiter(lambda key_id: 50), caller(total_tokens=100)
    first = begin(limiter, key, 0, prompt_tokens=10, most_generated=20)

    with pytest.raises(BudgetSpent, match="prompt has 10 tokens and the completion may have 41, which is 1 too many"):
        begin(limiter, key, 0, 10, 41)
    with pytest.raises(RateLimited, match="50 are used, and 30 are reserved by running requests"):
        begin(limiter, key, 0, 10, 11)
    begin(limiter, key, 0, 10, 10)
    assert "50 are reserved" in rejection(limiter, key, 0).message
    first.cancel(0)
    begin(limiter, key, 0, 10, 20)


def test_usage_stays_reserved_until_the_ledger_has_recorded_it() -> None:
    used = {"key": 0}
    limiter, key = Limiter(lambda key_id: used[key_id]), caller(total_tokens=100)
    reservation = begin(limiter, key, 0, prompt_tokens=30, most_generated=70)
    reservation.end(cached_tokens=0, generated_tokens=10, now=1)

    assert "40 are reserved" in str(rejection(limiter, key, 1, prompt_tokens=61))
    reservation.settle()
    used["key"] = 40
    begin(limiter, key, 1, prompt_tokens=10, most_generated=50)


@given(st.integers(1, 500), st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1)), max_size=40))
def test_a_budget_is_never_overdrawn(budget: int, requests: list[tuple[int, int, float]]) -> None:
    used = 0
    limiter, key = Limiter(lambda key_id: used), caller(total_tokens=budget)
    running: list[tuple[Reservation, int, int]] = []
    for number, (prompt, most, share) in enumerate(requests):
        with suppress(RateLimited, BudgetSpent):
            running.append((begin(limiter, key, number, prompt, most), prompt, int(most * share)))
        if running and number % 3 == 0:
            reservation, prompt, generated = running.pop(0)
            reservation.end(cached_tokens=0, generated_tokens=generated, now=number)
            reservation.settle()
            used += prompt + generated

    assert used + sum(prompt + generated for _, prompt, generated in running) <= budget


def test_a_cancelled_request_gives_its_prompt_back_but_counts() -> None:
    limiter, key = Limiter(), caller(requests_per_minute=10, prompt_tokens_per_minute=100)
    begin(limiter, key, 0, prompt_tokens=100).cancel(0)

    key_limiter = limiter.key_limiter(key, 0)

    assert key_limiter is not None
    assert key_limiter.standing(0, 0).allowances() == [
        Allowance("requests", 10, 9, 6.0),
        Allowance("prompt_tokens", 100, 100, 0.0),
    ]


def test_prompts_that_were_not_computed_are_given_back() -> None:
    limiter, key = Limiter(), caller(prompt_tokens_per_minute=100, total_tokens=200)
    reservation = begin(limiter, key, 0, prompt_tokens=100, most_generated=50)
    reservation.end(prompt_tokens=30, cached_tokens=0, generated_tokens=7, now=0)

    key_limiter = limiter.key_limiter(key, 0)

    assert key_limiter is not None
    assert key_limiter.standing(0, 0).allowances() == [Allowance("prompt_tokens", 100, 70, 18.0)]
    assert "37 are reserved" in str(rejection(limiter, key, 0, prompt_tokens=170))


def test_only_the_first_end_counts() -> None:
    limiter, key = Limiter(), caller(generated_tokens_per_minute=60)
    reservation = begin(limiter, key, 0)
    reservation.end(cached_tokens=0, generated_tokens=10, now=0)
    reservation.end(cached_tokens=0, generated_tokens=10, now=0)
    reservation.cancel(0)

    key_limiter = limiter.key_limiter(key, 0)

    assert key_limiter is not None
    assert key_limiter.standing(0, 0).allowances() == [Allowance("generated_tokens", 60, 50, 10.0)]


def test_an_overdraft_is_shown_as_zero_remaining() -> None:
    limiter, key = Limiter(), caller(generated_tokens_per_minute=60)
    begin(limiter, key, 0).end(cached_tokens=0, generated_tokens=90, now=0)

    key_limiter = limiter.key_limiter(key, 0)

    assert key_limiter is not None
    assert key_limiter.standing(0, 0).allowances() == [Allowance("generated_tokens", 60, 0, 90.0)]


# --- background requests ---


def background_wait_s(limiter: Limiter, key: Caller, now: float = 0) -> float:
    account = limiter.key_limiter(key, now)
    assert account is not None
    return account.standing(0, now).background_wait_s()


def test_background_requests_leave_half_of_each_rate() -> None:
    limiter, key = Limiter(), caller(requests_per_minute=60)
    assert background_wait_s(limiter, key) == 0
    for _ in range(30):
        begin(limiter, key, now=0)
    assert background_wait_s(limiter, key) == 0
    begin(limiter, key, now=0)

    assert background_wait_s(limiter, key) == pytest.approx(1)
    assert background_wait_s(limiter, key, now=1) == 0
    begin(limiter, key, now=0)  # a live request goes on


@pytest.mark.parametrize(("most", "background"), [(1, 1), (2, 1), (3, 1), (8, 4)])
def test_background_requests_leave_half_of_the_concurrency_but_run_one_at_least(most: int, background: int) -> None:
    limiter, key = Limiter(), caller(concurrent_requests=most)
    for _ in range(background):
        assert background_wait_s(limiter, key) == 0
        begin(limiter, key, now=0)

    assert background_wait_s(limiter, key) > 0


@pytest.mark.parametrize("limits", [Limits(requests_per_minute=0), Limits(concurrent_requests=0)])
def test_background_requests_do_not_wait_for_what_never_comes(limits: Limits) -> None:
    assert background_wait_s(Limiter(), Caller("key", "key", limits=limits)) == 0


def test_one_request_a_minute_lets_a_background_request_run() -> None:
    limiter, key = Limiter(), caller(requests_per_minute=1)

    assert background_wait_s(limiter, key) == 0
