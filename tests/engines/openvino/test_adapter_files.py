"""Adapters in PEFT's format: what is read, and what is refused by name."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossette.engines.openvino.adapters.read import read_adapter
from crossette.errors import ModelError
from support.lora_adapters import MODULES, random_matrices, write_adapter

Q, GATE = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.gate_proj"


@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 0), ("F16", 1e-3), ("BF16", 1e-2)])
def test_matrices_are_read_in_every_type(tmp_path: Path, kind: str, tolerance: float) -> None:
    tensors = random_matrices(4)
    adapter = read_adapter("a", write_adapter(tmp_path / "a", tensors, kind))

    assert len(adapter.modules) == 2 * len(MODULES)
    for module, low_rank in adapter.modules.items():
        name = f"base_model.model.{module}"
        np.testing.assert_allclose(low_rank.a, tensors[f"{name}.lora_A.weight"], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(low_rank.b, tensors[f"{name}.lora_B.weight"], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({"lora_alpha": 8}, (2.0, 2.0)),
        ({"lora_alpha": 8, "use_rslora": True}, (8 / sqrt(4), 8 / sqrt(4))),
        ({"lora_alpha": 8, "alpha_pattern": {"q_proj": 16}}, (4.0, 2.0)),
        ({"lora_alpha": 8, "alpha_pattern": {"layers.1.mlp.gate_proj": 2, "_proj": 1}}, (2.0, 0.5)),
        ({"lora_alpha": 8, "alpha_pattern": {r"^model\.layers\.0": 4}}, (1.0, 2.0)),
        ({"lora_alpha": 8, "r": 16, "rank_pattern": {".*_proj": 4}}, (2.0, 2.0)),
    ],
)
def test_scales_follow_the_config(tmp_path: Path, config: dict[str, Any], scales: tuple[float, float]) -> None:
    modules = read_adapter("a", write_adapter(tmp_path / "a", random_matrices(4), **config)).modules

    assert (modules[Q].scale, modules[GATE].scale) == scales


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\]"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"init_lora_weights": "pissa_niter_4"}, "belongs to a changed base"),
        ({"r": 5}, "config.json says rank 5"),
        ({"r": "x"}, "damaged"),
        ({"alpha_pattern": {"(": 1}}, r"the pattern '\(' .* is damaged"),
    ],
)
def test_what_is_more_than_low_rank_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    folder = write_adapter(tmp_path / "a", random_matrices(4), **config)

    with pytest.raises(ModelError, match=f"The adapter 'mine' in .* is not supported: .*{message}"):
        read_adapter("mine", folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("base_model.model.lm_head.weight", "tensor 'base_model.model.lm_head.weight' is not a matrix"),
        ("base_model.model.model.embed_tokens.lora_embedding_A", "embed_tokens.lora_embedding_A' is not"),
        ("base_model.model.model.layers.0.mlp.experts.3.up_proj.lora_A.weight", "experts of the base"),
        ("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", "'model.layers.0.mlp.up_proj' has only lora_A"),
    ],
)
def test_other_tensors_are_refused(tmp_path: Path, name: str, message: str) -> None:
    tensors = random_matrices(4, modules={"self_attn.q_proj": (128, 128)}) | {name: np.ones((4, 128), np.float32)}

    with pytest.raises(ModelError, match=message):
        read_adapter("mine", write_adapter(tmp_path / "a", tensors))


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", random_matrices(4))
    (folder / "adapter_model.safetensors").write_bytes(b"\0")
    with pytest.raises(ModelError, match="not a safetensors file"):
        read_adapter("mine", folder)

    (folder / "adapter_config.json").unlink()
    with pytest.raises(ModelError, match="The adapter 'mine' cannot be read"):
        read_adapter("mine", folder)
