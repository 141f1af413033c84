"""A sequence's length changes no other output, even in a graph that uses the longest sequence of a step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from openvino import opset13 as ops

from crossette.engines.openvino import length_choices
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.errors import ModelError
from support.choosing_graphs import ALL_AXES, Output, factor_beyond, longest, number, write_choosing
from support.engine_calls import TINY_CONTEXT, at_once, make_request, run, tokens
from support.tiny_model import tiny_files

LENGTH = 300
OUTPUT = 16
SETTINGS = OpenVINOSettings(kv_cache="32MiB", max_step_tokens=64)


def load(directory: Path, settings: OpenVINOSettings = SETTINGS) -> OpenVINOEngine:
    files = replace(tiny_files(directory), architecture="tiny_rope", end_token_ids=frozenset())
    return OpenVINOEngine.load(files, settings)


def prompts(longest: int) -> list[tuple[int, ...]]:
    lengths = [3, 20, 33, 64, 120, 200, longest]
    return [tuple(np.random.default_rng(length).integers(3, 259, length).tolist()) for length in lengths]


async def together(engine: OpenVINOEngine, asked: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return await at_once(engine, (tokens(engine, make_request(each, max_tokens=OUTPUT)) for each in asked))


def test_outputs_are_the_same_beside_the_longest_sequences(tiny_model_dir: Path, tmp_path: Path) -> None:
    with closing(load(write_choosing(tiny_model_dir, tmp_path / "model", factor_beyond(LENGTH)))) as engine:
        asked = prompts(engine.info.context_length - OUTPUT)
        alone = [run(tokens(engine, make_request(prompt, max_tokens=OUTPUT))) for prompt in asked]

        assert run(together(engine, asked)) == alone
        assert len(set(alone)) == len(alone)


def test_the_window_ends_where_the_graph_switches_and_there_is_a_warning(tiny_model_dir: Path, tmp_path: Path) -> None:
    with closing(load(write_choosing(tiny_model_dir, tmp_path / "model", factor_beyond(LENGTH)))) as engine:
        assert engine.info.context_length == LENGTH
        (warning,) = engine.warnings
    assert warning == (
        f"Only {LENGTH} tokens of context are served: beyond them its graph computes values from the longest sequence"
        " of a batch, which changes other texts."
    )


@pytest.mark.parametrize("max_model_len", [LENGTH, LENGTH - 1, 40])
def test_a_smaller_max_model_len_causes_no_warning(tiny_model_dir: Path, tmp_path: Path, max_model_len: int) -> None:
    directory = write_choosing(tiny_model_dir, tmp_path / "model", factor_beyond(LENGTH))
    settings = OpenVINOSettings(kv_cache="32MiB", max_step_tokens=64, max_model_len=max_model_len)

    with closing(load(directory, settings)) as engine:
        assert (engine.info.context_length, engine.warnings) == (max_model_len, ())


def grows(positions: Output) -> Output:
    return longest(positions)


def sums(positions: Output) -> Output:
    return ops.reduce_sum(positions, ALL_AXES).output(0)


def half(positions: Output) -> Output:
    """Values that change at lengths too short to serve."""
    return ops.divide(longest(positions), number(2)).output(0)


@pytest.mark.parametrize("choose", [grows, sums, half])
def test_a_graph_that_mixes_sequences_of_any_length_is_refused(
    tiny_model_dir: Path, tmp_path: Path, choose: Callable[[Output], Output]
) -> None:
    with pytest.raises(ModelError, match=r"^Its graph computes '.+' from all sequences of a batch together"):
        load(write_choosing(tiny_model_dir, tmp_path / "model", choose))


def test_effects_missed_by_the_analysis_are_measured(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(length_choices, "window_limit", lambda model, window: None)

    with pytest.raises(ModelError, match=r"^A sequence's logits change with the length of other sequences"):
        load(write_choosing(tiny_model_dir, tmp_path / "model", factor_beyond(LENGTH)))


@pytest.mark.parametrize("length", [TINY_CONTEXT, TINY_CONTEXT + 1])
def test_a_switch_beyond_the_window_has_no_effect(tiny_model_dir: Path, tmp_path: Path, length: int) -> None:
    with closing(load(write_choosing(tiny_model_dir, tmp_path / "model", factor_beyond(length)))) as engine:
        assert engine.warnings == ()
        assert engine.info.context_length > LENGTH
