"""The token budget of the next step, from recent step times."""

from __future__ import annotations

from crossette.engines.openvino.pace import StepPace


def test_without_decoding_sequences_the_budget_is_the_maximum() -> None:
    pace = StepPace(0.1)
    pace.observe(100, 10.0)

    assert pace.budget(256, num_decoding=0) == 256


def test_before_any_measurement_the_budget_is_the_maximum() -> None:
    assert StepPace(0.1).budget(256, num_decoding=4) == 256


def test_the_budget_is_what_the_target_time_allows() -> None:
    pace = StepPace(0.1)
    pace.observe(100, 0.2)

    assert pace.budget(256, num_decoding=4) == 50


def test_prefill_progresses_on_any_machine() -> None:
    pace = StepPace(0.1)
    pace.observe(100, 50.0)

    assert pace.budget(256, num_decoding=4) == 20


def test_narrow_steps_do_not_update_the_time_per_token() -> None:
    pace = StepPace(0.1)
    pace.observe(1, 5.0)

    assert pace.budget(256, num_decoding=4) == 256


def test_patience_is_ten_seconds_or_fifty_median_steps() -> None:
    quick, slow = StepPace(0.1), StepPace(0.1)
    quick.observe(10, 0.02)
    slow.observe(10, 2.0)

    assert (quick.patience_s, slow.patience_s) == (10.0, 100.0)


def test_a_few_slow_steps_do_not_reduce_the_budget() -> None:
    pace = StepPace(0.1)
    for seconds in (0.2,) * 9 + (60.0,) * 4:
        pace.observe(100, seconds)

    assert (pace.budget(256, num_decoding=4), pace.patience_s) == (50, 10.0)


def test_a_lasting_slowdown_is_detected_within_five_steps() -> None:
    pace = StepPace(0.1)
    for seconds in (0.2,) * 9 + (0.4,) * 5:
        pace.observe(100, seconds)

    assert pace.budget(256, num_decoding=4) == 25
