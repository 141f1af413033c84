"""Limits of the context length in config.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crossette.errors import ModelError
from crossette.models.window import window_limits
from crossette.types import WindowLimit


def limits(tmp_path: Path, config: object) -> tuple[WindowLimit, ...]:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return window_limits(tmp_path)


def tokens(tmp_path: Path, config: object) -> list[int]:
    return [limit.tokens for limit in limits(tmp_path, config)]


def test_no_config_limits_nothing(tmp_path: Path) -> None:
    assert window_limits(tmp_path) == ()


def test_a_broken_config_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="Can't read"):
        window_limits(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"max_position_embeddings": 8192},
        {"rope_scaling": None, "rope_parameters": {"rope_type": "default"}, "sliding_window": None},
        {"rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": 8192, "factor": 8.0}},
        {"rope_scaling": {"type": "yarn", "original_max_position_embeddings": 4096, "factor": 4.0}},
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 4096},
        {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}},
        {"attention_chunk_size": None},
        {"attention_chunk_size": True},
        {"attention_chunk_size": "8192"},
        {"audio_config": {"attention_chunk_size": 12}},
        {"sliding_window": 4096, "use_sliding_window": False},
        {"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 28, "num_hidden_layers": 28},
        {"sliding_window": 4096, "layer_types": ["full_attention", "full_attention"]},
        {"window_size": 256, "attention_layers": ["global", "global"]},
        {"window_size": 7},
    ],
)
def test_most_models_have_no_limits(tmp_path: Path, config: dict[str, object]) -> None:
    assert limits(tmp_path, config) == ()


@pytest.mark.parametrize("nested", [False, True])
def test_chunked_attention(tmp_path: Path, nested: bool) -> None:
    config: dict[str, object] = {"attention_chunk_size": 8192, "max_position_embeddings": 131072}

    (limit,) = limits(tmp_path, {"model_type": "llama4", "text_config": config} if nested else config)

    assert (limit.tokens, limit.unless_sliding) == (8192, False)
    assert "uses chunked attention (attention_chunk_size)" in limit.reason


LONG = {"short_factor": [1.0], "long_factor": [2.0]}


@pytest.mark.parametrize(
    "config",
    [
        {"rope_scaling": {"type": "longrope", **LONG}, "original_max_position_embeddings": 4096},
        {"rope_scaling": {"type": "su", **LONG}, "original_max_position_embeddings": 4096},
        {"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 4096, **LONG}},
        {"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 4096, **LONG}},
        {
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default"},
                "full_attention": {"rope_type": "longrope", "original_max_position_embeddings": 4096, **LONG},
            }
        },
        {
            "rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 8192, **LONG},
            "original_max_position_embeddings": 4096,
        },
    ],
)
def test_longrope_under_all_its_names(tmp_path: Path, config: dict[str, object]) -> None:
    (limit,) = limits(tmp_path, config)

    assert limit.tokens == 4096
    assert limit.unless_chosen
    assert "other rotary factors (longrope), which its graph lacks" in limit.reason


@pytest.mark.parametrize(
    "config",
    [
        {"sliding_window": 2047},
        {"sliding_window": 2047, "use_sliding_window": True, "max_window_layers": 12, "num_hidden_layers": 28},
        {"sliding_window": 2047, "layer_types": ["sliding_attention", "full_attention"]},
        {"window_size": 2047, "attention_layers": ["global", "local"]},
    ],
)
def test_sliding_windows_limit_graphs_without_them(tmp_path: Path, config: dict[str, object]) -> None:
    (limit,) = limits(tmp_path, config)

    assert (limit.tokens, limit.unless_sliding) == (2047, True)


def test_a_model_may_have_several_limits(tmp_path: Path) -> None:
    rope = {"type": "longrope", **LONG}
    config = {"sliding_window": 2047, "rope_scaling": rope, "original_max_position_embeddings": 4096}

    assert tokens(tmp_path, config) == [2047, 4096]
