"""The branches of adapters: against numpy on a graph of one product, and against merged weights on a whole model."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from gguf import GGMLQuantizationType, GGUFReader
from hypothesis import given
from hypothesis import strategies as st
from openvino import opset13 as ops

from crossette.engines.openvino.adapters.graph import ADAPTERS, add_adapters, scale_table
from crossette.engines.openvino.adapters.read import Adapter, LowRank, read_adapter
from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.model import load_paged
from crossette.engines.openvino.runner import Runner, Subsequence
from crossette.errors import ModelError
from support.lora_adapters import random_matrices, write_adapter
from support.tiny_model import HEAD_SIZE, Weights, write_tiny_gguf

Floats = npt.NDArray[np.float32]

MODULE = "model.layers.0.self_attn.q_proj"
INPUTS, OUTPUTS = 8, 6
GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def product(weights: Floats, rank: int, friendly_name: str) -> ov.Model:
    """A graph of one product, with inputs `[tokens, width]` or `[tokens, 1, width]`."""
    x = ops.parameter([-1, INPUTS] if rank == 2 else [-1, 1, INPUTS], np.float32, name="x")
    node = ops.matmul(x, ops.constant(weights), transpose_a=False, transpose_b=True)
    node.set_friendly_name(friendly_name)
    return ov.Model([ops.result(node)], [x])


def random_adapter(name: str, rank: int, seed: int) -> Adapter:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((rank, INPUTS)), rng.standard_normal((OUTPUTS, rank))
    return Adapter(name, {MODULE: LowRank(a.astype(np.float32), b.astype(np.float32), 0.5 + seed)})


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", [f"__module.{MODULE}/aten::linear/MatMul", f"__module.{MODULE}/ov_ext::linear/MatMul"])
def test_each_token_gets_its_own_adapter(rank: int, name: str) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((OUTPUTS, INPUTS)).astype(np.float32)
    adapters = [random_adapter(f"a{seed}", 2 + seed, seed) for seed in range(3)]
    graph = product(weights, rank, name)
    add_adapters(graph, adapters, "llama")
    x = rng.standard_normal((8, INPUTS)).astype(np.float32)
    numbers = np.array([0, 1, 2, 3, 0, 3, 1, 2])

    shaped = x if rank == 2 else x[:, None]
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    y = compiled({"x": shaped, ADAPTERS: numbers})[0].reshape(8, OUTPUTS)

    for row, number, found in zip(x, numbers, y, strict=True):
        expected = row @ weights.T
        if number:
            low_rank = adapters[number - 1].modules[MODULE]
            expected = expected + low_rank.scale * (row @ low_rank.a.T) @ low_rank.b.T
        np.testing.assert_allclose(found, expected, atol=1e-5)


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0.125, 8, width=32)), min_size=1, max_size=6), st.data())
def test_a_token_has_the_ranks_of_its_own_adapter_alone(parts: list[tuple[int, float]], data: st.DataObject) -> None:
    total = len(parts) + data.draw(st.integers(0, 3))
    numbers = sorted(data.draw(st.permutations(range(1, total + 1)))[: len(parts)])
    table = scale_table([(number, *part) for number, part in zip(numbers, parts, strict=True)], total)

    ends = np.cumsum([0, *(rank for rank, _ in parts)])
    assert table.shape == (total + 1, ends[-1])
    for number, (begin, end), (_, scale) in zip(numbers, pairwise(ends), parts, strict=True):
        assert (table[number, begin:end] == scale).all()
        table[number, begin:end] = 0
    assert not table.any()


def test_families_with_other_rows_have_no_adapters_of_queries() -> None:
    graph = product(np.ones((OUTPUTS, INPUTS), np.float32), 2, "MatMul_1")
    weights = next(node for node in graph.get_ops() if node.get_type_name() == "Constant")
    weights.set_friendly_name("blk.0.attn_q.weight.weights")

    with pytest.raises(ModelError, match=r"'layers.0.self_attn.q_proj', which cannot be changed in this base.*: none"):
        add_adapters(graph, [random_adapter("a", 2, 0)], "glm4")


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_an_adapter_equals_merged_weights(tmp_path: Path, architecture: str) -> None:
    head_size = HEAD_SIZE * (2 if architecture == "qwen3" else 1)
    modules = {
        "self_attn.q_proj": (128, 2 * head_size),
        "self_attn.k_proj": (128, head_size),
        "self_attn.v_proj": (128, head_size),
        "self_attn.o_proj": (2 * head_size, 128),
        "mlp.gate_proj": (128, 256),
        "mlp.up_proj": (128, 256),
        "mlp.down_proj": (256, 128),
    }
    folder = write_adapter(tmp_path / "adapter", random_matrices(4, seed=3, modules=modules))
    file = write_tiny_gguf(
        tmp_path / "tiny.gguf",
        layers=2,
        width=128,
        architecture=architecture,
        weights=Weights(kind=GGMLQuantizationType.F32),
    )
    for name in ("base", "merged"):
        (tmp_path / name).mkdir()
    convert(file, tmp_path / "base")
    merge(file, read_adapter("a", folder), head_size if architecture == "llama" else None)
    convert(file, tmp_path / "merged")

    with_adapter = logits(tmp_path / "base", architecture, {"a": folder}, "a")

    np.testing.assert_allclose(with_adapter, logits(tmp_path / "merged", architecture, {}, None), atol=1e-3)
    assert np.abs(with_adapter - logits(tmp_path / "base", architecture, {}, None)).max() > 0.1


def merge(file: Path, adapter: Adapter, permuted_head_size: int | None) -> None:
    """Add an adapter to the matrices of a GGUF file. Rows of queries and keys in llama files are in pairs."""
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(file, "r+").tensors}
    for module, low_rank in adapter.modules.items():
        _, _, layer, name = module.split(".", 3)
        change = low_rank.scale * low_rank.b @ low_rank.a
        if permuted_head_size and name in ("self_attn.q_proj", "self_attn.k_proj"):
            heads = change.reshape(-1, 2, permuted_head_size // 2, change.shape[1])
            change = heads.swapaxes(1, 2).reshape(change.shape)
        tensors[f"blk.{layer}.{GGUF_NAMES[name]}.weight"] += change


def logits(directory: Path, family: str, adapters: dict[str, Path], adapter: str | None) -> Floats:
    model = load_paged(directory, threads=1, window=512, family=family, kv_cache_dtype="f32", adapters=adapters)
    runner = Runner(model, 8, threads=1)
    tokens = np.random.default_rng(0).integers(0, 256, 40).tolist()
    try:
        return runner.forward([Subsequence(tokens, 0, (0, 1), 4, adapter=adapter)]).copy()
    finally:
        runner.close()
