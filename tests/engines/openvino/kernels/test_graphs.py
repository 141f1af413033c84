"""Graphs whose products have kernels of crossette's own: which products those are, and what they compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from openvino._offline_transformations import paged_attention_transformation

from crossette.engine import ModelFiles
from crossette.engines.openvino import load as load_module
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.kernels.layers import Layers, replace_layers
from crossette.engines.openvino.kernels.load import Kernels
from crossette.engines.openvino.kernels.products import PRODUCT, replace_products
from crossette.engines.openvino.model import PagedModel, load_paged
from crossette.engines.openvino.runner import Logits, Runner, Subsequence
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.engines.openvino.sliding_layers import attentions, fixed_windows
from support.engine_calls import TINY_CONTEXT
from support.own_kernels import own_kernels

pytestmark = pytest.mark.model

LAYERS, PER_LAYER = 2, 7
"""Of the tiny model: matrices of queries, keys, values, the attention's output, gate, up and down."""
PROMPT = 20
ROUNDING = 5e-4
"""Of logits in standard deviations, with a cache that rounds nothing."""


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return own_kernels()


Load = Callable[[Kernels | None], PagedModel]


@pytest.fixture(scope="module")
def load(tiny_model_dir: Path) -> Load:
    return lambda kernels: load_paged(
        tiny_model_dir, threads=2, window=TINY_CONTEXT, kv_cache_dtype="f32", kernels=kernels
    )


def prompt(sequence: int) -> Subsequence:
    tokens = np.random.default_rng(sequence).integers(3, 260, PROMPT).tolist()
    return Subsequence(tokens, 0, [sequence * 2, sequence * 2 + 1], 1)


def token(sequence: int) -> Subsequence:
    return Subsequence([5 + sequence], PROMPT, [sequence * 2, sequence * 2 + 1], 1)


def logits(model: PagedModel) -> list[Logits]:
    """Of three prompts, and of three tokens, alone and together."""
    runner = Runner(model, 16, threads=2)
    steps = [[prompt(sequence)] for sequence in range(3)]
    steps += [[token(sequence)] for sequence in range(3)]
    steps += [[token(sequence) for sequence in range(3)]]
    return [runner.forward(step).copy() for step in steps]


def test_all_quantised_products_have_the_kernels(load: Load, kernels: Kernels) -> None:
    model = load(kernels)
    kinds = [node.get_rt_info()["layerType"].astype(str) for node in model.compiled.get_runtime_model().get_ops()]
    assert model.own_products == LAYERS * PER_LAYER + 1
    assert model.own_head
    assert model.scores is not None
    assert kinds.count("Reference") == LAYERS * 3 + 1  # queries, keys and values are one node, the network another
    assert not [kind for kind in kinds if "FullyConnected" in kind]


def test_one_node_computes_all_layers_with_a_cache_of_8_bits(tiny_model_dir: Path, kernels: Kernels) -> None:
    model = load_paged(tiny_model_dir, threads=2, window=TINY_CONTEXT, kernels=kernels)
    kinds = [node.get_rt_info()["layerType"].astype(str) for node in model.compiled.get_runtime_model().get_ops()]
    assert model.own_layers
    assert model.own_products == LAYERS * PER_LAYER + 1
    assert kinds.count("Reference") == 2  # the layers, and the head
    assert not [kind for kind in kinds if "FullyConnected" in kind or "Attention" in kind or "RMS" in kind]
    other = load_paged(tiny_model_dir, threads=2, window=TINY_CONTEXT)
    assert model.cache_layers == other.cache_layers


def paged(folder: Path) -> ov.Model:
    model = ov.Core().read_model(folder / "openvino_model.xml")
    paged_attention_transformation(model)
    return model


def layers_of(model: ov.Model, kernels: Kernels) -> Layers | None:
    """What one node takes of a graph."""
    head = model.get_results()[0].input_value(0).get_node()
    windows = {node.get_name(): window for node, window in fixed_windows(model)}
    return replace_layers(model, head.input_value(0), windows, kernels.factory)


SINKS = 20
"""An input port of the attention node."""


def test_layers_with_attention_sinks_stay_as_they_are(tiny_model_dir: Path, kernels: Kernels) -> None:
    """Also if their scores are zero: these take part in the softmax."""
    model = paged(tiny_model_dir)
    node = attentions(model)[0]
    assert list(node.get_input_shape(SINKS)) == [0, 0, 0, 0]
    node.input(SINKS).replace_source_output(ops.constant(np.zeros((1, 4, 1, 1), np.float32)).output(0))
    assert layers_of(model, kernels) is None
    assert layers_of(paged(tiny_model_dir), kernels) is not None


Change = Callable[[ov.Output], ov.Node]

OF_HEADS: list[Change] = [
    lambda x: ops.multiply(x, ops.constant(np.float32(0.5))),
    lambda x: ops.add(x, ops.constant(np.ones(64, np.float32))),
    lambda x: ops.variadic_split(x, np.int64(-1), np.array([32, 32])),
]


@pytest.mark.parametrize("change", OF_HEADS)
def test_layers_whose_rows_are_heads_stay_as_they_are(tiny_model_dir: Path, kernels: Kernels, change: Change) -> None:
    """What is computed of `[tokens * heads, columns]` has other rows than tokens."""
    model = paged(tiny_model_dir)
    product = next(node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul")
    users = product.output(0).get_target_inputs()
    heads = ops.reshape(product, np.array([-1, 64]), special_zero=False)
    changed = change(heads.output(0))
    joined = ops.concat(changed.outputs(), axis=-1) if changed.get_output_size() > 1 else changed
    back = ops.reshape(joined, np.array([-1, 1, 256]), special_zero=False)
    for user in users:
        user.replace_source_output(back.output(0))
    model.validate_nodes_and_infer_types()
    assert layers_of(model, kernels) is None


def test_logits_are_those_of_the_other_kernels(load: Load, kernels: Kernels) -> None:
    for own, other in zip(logits(load(kernels)), logits(load(None)), strict=True):
        assert np.abs(own - other).max() <= ROUNDING * other.std()


def test_a_token_alone_needs_neither_results_for_the_filler_nor_a_second_row(load: Load, kernels: Kernels) -> None:
    found = logits(load(kernels))
    assert [len(step) for step in found] == [1, 1, 1, 1, 1, 1, 3]
    assert np.array_equal(np.concatenate(found[3:6]), found[6])


def test_the_kernels_are_part_of_the_fingerprint(load: Load, kernels: Kernels) -> None:
    other = Kernels(kernels.factory, "another key")
    assert len({load(one).fingerprint for one in (kernels, other, None)}) == 3


def test_other_products_stay_as_they_are(kernels: Kernels) -> None:
    """Matrices of floats and of 2 bits, tables, and matrices that are not transposed."""
    ops = ov.opset13
    x, ids = ops.parameter([-1, 32], np.float32), ops.parameter([-1], np.int64)

    def matrix(kind: ov.Type, group: int = 32) -> ov.Node:
        data = np.zeros(32 * 32 * kind.bitwidth // 8, np.uint8)
        integers = ov.op.Constant(ov.Tensor(data, ov.Shape([32, 32 // group, group]), kind), shared_memory=False)
        scales = ops.constant(np.ones((32, 32 // group, 1), np.float32))
        return ops.reshape(ops.multiply(ops.convert(integers, np.float32), scales), [32, 32], special_zero=False)

    floats = ops.constant(np.zeros((32, 32), np.float32))
    others = [
        ops.matmul(x, floats, False, True),
        ops.matmul(x, matrix(ov.Type.u2), False, True),
        ops.matmul(x, matrix(ov.Type.u4, group=8), False, True),
        ops.matmul(x, matrix(ov.Type.u4), False, False),
        ops.gather(matrix(ov.Type.u8), ids, ops.constant(np.int64(0))),
    ]
    model = ov.Model([*others, ops.matmul(x, matrix(ov.Type.u4), False, True)], [x, ids])
    assert replace_products(model, kernels.factory) == 1
    assert [node.get_type_name() for node in model.get_ops()].count(PRODUCT) == 1
    assert [node.get_type_name() for node in model.get_ops()].count("MatMul") == 4


@pytest.mark.parametrize(("choice", "used"), [("auto", "crossette"), ("openvino", "openvino")])
def test_the_engine_says_whose_kernels_it_has(real_files: ModelFiles, kernels: Kernels, choice: str, used: str) -> None:
    settings = OpenVINOSettings(kv_cache="64MiB", kernels=choice)  # type: ignore[arg-type]  # one of its values
    engine = OpenVINOEngine.load(real_files, settings)
    try:
        assert engine.details["kernels"] == used
        assert engine.warnings == ()
    finally:
        engine.close()


def test_a_machine_without_a_compiler_has_the_other_kernels(
    real_files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module, "load_kernels", lambda: None)
    engine = OpenVINOEngine.load(real_files, OpenVINOSettings(kv_cache="64MiB"))
    try:
        assert engine.details["kernels"] == "openvino"
    finally:
        engine.close()
