"""Logprobs compared with the plain formula in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.engines.openvino.logprobs import record, records


def softmax(logits: list[float]) -> list[float]:
    values = np.array(logits, np.float64)
    found: list[float] = (values - np.log(np.exp(values - values.max()).sum()) - values.max()).tolist()
    return found


@given(st.lists(st.integers(-40, 40).map(lambda x: x / 4), min_size=1, max_size=30), st.integers(0, 8), st.data())
def test_records_agree_with_log_softmax_and_alternatives_are_in_descending_order(
    logits: list[float], num_top: int, data: st.DataObject
) -> None:
    token = data.draw(st.integers(0, len(logits) - 1))
    expected = softmax(logits)

    found = record(np.array(logits, np.float32), token, num_top)

    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:num_top]
    assert found.logprob == pytest.approx(expected[token], abs=1e-5)
    assert [other for other, _ in found.top] == order
    assert [value for _, value in found.top] == pytest.approx([expected[i] for i in order], abs=1e-5)


def test_the_most_likely_token_has_exactly_the_logprob_of_the_first_alternative() -> None:
    """Evaluation harnesses compare the two for equality to detect greedy tokens."""
    logits = np.random.default_rng(0).normal(0, 5, 50_000).astype(np.float32)

    found = record(logits, int(logits.argmax()), 1)

    assert found.top[0] == (found.token_id, found.logprob)


@pytest.mark.parametrize("num_rows", [0, 1, 15, 16, 53])
@pytest.mark.parametrize("num_top", [0, 1, 3])
def test_many_positions_are_recorded_as_each_alone(num_rows: int, num_top: int) -> None:
    generator = np.random.default_rng(num_rows)
    rows = generator.normal(0, 5, (num_rows, 300)).astype(np.float32)
    tokens = generator.integers(0, 300, num_rows).tolist()

    found = records(rows, tokens, num_top, threads=3)

    assert found == [record(row, token, num_top) for row, token in zip(rows, tokens, strict=True)]
