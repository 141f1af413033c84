"""What is learned from steps about how fast they are."""

from __future__ import annotations

from crossette.engine import Speeds
from crossette.engines.throughput import Throughput


def test_nothing_is_known_at_first() -> None:
    assert Throughput().speeds == Speeds()


def test_a_step_teaches_only_of_what_was_in_it() -> None:
    throughput = Throughput()
    throughput.observe(prompt_tokens=100, output_tokens=0, seconds=0.5)
    throughput.observe(prompt_tokens=0, output_tokens=8, seconds=0.1)

    speeds = throughput.speeds
    assert (round(speeds.prompt_tokens_per_s), round(speeds.output_tokens_per_s)) == (200, 80)
    assert speeds.mean_output_tokens == 0


def test_a_slow_step_counts_for_as_long_as_it_took() -> None:
    """Ten steps of a second and one of ten are not ten times as fast as the last one."""
    throughput = Throughput()
    for _ in range(100):
        throughput.observe(prompt_tokens=100, output_tokens=0, seconds=1)
    throughput.observe(prompt_tokens=100, output_tokens=0, seconds=11)

    assert round(throughput.speeds.prompt_tokens_per_s, 3) == 33.333  # 100 tokens in 0.8 * 1 s + 0.2 * 11 s


def test_a_new_speed_is_learned_within_ten_steps() -> None:
    throughput = Throughput()
    throughput.observe(prompt_tokens=0, output_tokens=1, seconds=0.1)
    for _ in range(10):
        throughput.observe(prompt_tokens=0, output_tokens=64, seconds=0.2)

    assert 280 < throughput.speeds.output_tokens_per_s < 320


def test_the_mean_length_follows_the_choices_that_end() -> None:
    throughput = Throughput()
    throughput.note_end(100)
    throughput.note_end(200)

    assert throughput.speeds.mean_output_tokens == 120
