"""Which models have graphs that leave something out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crossette.models.differences import known_differences


@pytest.mark.parametrize(
    "config", [None, {}, {"attn_logit_softcapping": None}, {"attn_logit_softcapping": 0.0}, {"attention": 50.0}]
)
def test_a_model_without_a_cap_has_none(tmp_path: Path, config: dict[str, object] | None) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))

    assert known_differences(tmp_path) == ()


@pytest.mark.parametrize("nested", [False, True])
def test_scores_that_are_not_capped_are_a_difference(tmp_path: Path, nested: bool) -> None:
    config = {"attn_logit_softcapping": 50.0}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": config} if nested else config))

    (difference,) = known_differences(tmp_path)
    assert "caps attention scores at 50 (attn_logit_softcapping)" in difference
