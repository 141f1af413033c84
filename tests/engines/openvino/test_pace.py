"""How wide the next step may be, from how long the last ones took."""

from __future__ import annotations

from crossette.engines.openvino.pace import StepPace


def test_nobody_waiting_means_the_widest_step() -> None:
    pace = StepPace(0.1)
    pace.observe(100, 10.0)

    assert pace.budget(256, num_decoding=0) == 256


def test_before_anything_is_known_the_widest_step_is_tried() -> None:
    assert StepPace(0.1).budget(256, num_decoding=4) == 256


def test_a_step_gets_the_tokens_of_the_target_time() -> None:
    pace = StepPace(0.1)
    pace.observe(100, 0.2)

    assert pace.budget(256, num_decoding=4) == 50


def test_prompts_go_on_however_slow_the_machine() -> None:
    pace = StepPace(0.1)
    pace.observe(100, 50.0)

    assert pace.budget(256, num_decoding=4) == 20


def test_narrow_steps_teach_nothing_of_what_a_token_costs() -> None:
    pace = StepPace(0.1)
    pace.observe(1, 5.0)

    assert pace.budget(256, num_decoding=4) == 256


def test_patience_is_ten_seconds_or_fifty_usual_steps() -> None:
    quick, slow = StepPace(0.1), StepPace(0.1)
    quick.observe(10, 0.02)
    slow.observe(10, 2.0)

    assert (quick.patience_s, slow.patience_s) == (10.0, 100.0)


def test_a_slow_moment_narrows_no_step_after_it() -> None:
    pace = StepPace(0.1)
    for seconds in (0.2,) * 9 + (60.0,) * 4:
        pace.observe(100, seconds)

    assert (pace.budget(256, num_decoding=4), pace.patience_s) == (50, 10.0)


def test_a_machine_that_has_become_slower_is_noticed_within_five_steps() -> None:
    pace = StepPace(0.1)
    for seconds in (0.2,) * 9 + (0.4,) * 5:
        pace.observe(100, seconds)

    assert pace.budget(256, num_decoding=4) == 25
