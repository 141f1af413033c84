"""The reference implementation matches transformers, refuses unsupported files, and its test files are valid."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize

from crossette.engines.openvino.gguf import reference, reference_tensors
from crossette.engines.openvino.gguf.head import read_head
from crossette.errors import ModelError
from support.gguf_blocks import quantize
from support.reference_cases import CASES, DATA, NUM_KEPT, TOKENS, write_case
from support.tiny_model import Weights, write_tiny_gguf

pytestmark = pytest.mark.model

KEPT = json.loads(DATA.read_text(encoding="utf-8"))

ERRORS = {
    "F32": 0.0,
    "F16": 0.0003,
    "BF16": 0.002,
    "Q8_0": 0.006,
    "Q6_K": 0.02,
    "Q5_K": 0.04,
    "Q5_1": 0.04,
    "Q5_0": 0.05,
    "Q4_K": 0.08,
    "Q4_1": 0.08,
    "Q4_0": 0.09,
    "IQ4_NL": 0.09,
    "IQ4_XS": 0.09,
    "MXFP4": 0.12,
    "Q3_K": 0.2,
    "Q2_K": 0.35,
}
"""Bounds of the RMS error of each type for weights of variance 1. Wrongly packed weights have an error of about 1."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("reference") / "tiny.gguf", layers=1, width=64)


@pytest.mark.parametrize("name", CASES)
def test_the_logits_match_transformers(tmp_path: Path, name: str) -> None:
    file = write_case(tmp_path / "tiny.gguf", name)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert sha256 == KEPT[name]["sha256"], "another file than recorded: run tests/support/make_reference_data.py again"

    logits = reference.logits(file, read_head(file), TOKENS)

    assert logits.shape == (len(TOKENS), 260) and logits.dtype == np.float32
    assert logits[-1, :NUM_KEPT] == pytest.approx(KEPT[name]["logits"], abs=1e-4)


def test_attention_is_causal(file: Path) -> None:
    expected = reference.logits(file, read_head(file), TOKENS)
    prefix = reference.logits(file, read_head(file), TOKENS[:40])

    np.testing.assert_allclose(expected[:40], prefix, atol=1e-4)


def test_matrices_are_dequantised_in_pieces_of_any_size(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = reference.logits(file, read_head(file), TOKENS)
    monkeypatch.setattr(reference_tensors, "_PIECE", 64 * 37)

    np.testing.assert_allclose(reference.logits(file, read_head(file), TOKENS), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("general.architecture", "gemma2", "'gemma2' is not one of llama, mistral3, qwen2"),
        ("llama.rope.scaling.type", "dynamic", "rope scaling 'dynamic' is not supported"),
        ("llama.block_count", 0, "its metadata has no llama.block_count"),
        ("llama.block_count", 2, "it has no tensor 'blk.1.attn_norm.weight'"),
    ],
)
def test_an_unsupported_file_is_an_error(file: Path, key: str, value: str | int, message: str) -> None:
    head = read_head(file)

    with pytest.raises(ModelError, match=message):
        reference.logits(file, replace(head, metadata={**head.metadata, key: value}), TOKENS)


def test_an_unused_tensor_is_an_error(file: Path) -> None:
    head = read_head(file)
    more = (*head.tensors, replace(head.tensors[-1], name="blk.0.ffn_gate_inp.weight"))

    with pytest.raises(ModelError, match=r"it has unsupported tensors: blk\.0\.ffn_gate_inp\.weight"):
        reference.logits(file, replace(head, tensors=more), TOKENS)


@pytest.mark.parametrize("kind", ERRORS)
def test_quantised_test_weights_are_near_the_originals(kind: str) -> None:
    weight = np.random.default_rng(1).standard_normal((16, 512), dtype=np.float32)
    weight[3, :256] = 0  # a constant block

    read = dequantize(quantize(weight, GGMLQuantizationType[kind]), GGMLQuantizationType[kind])

    assert read.shape == weight.shape
    assert np.sqrt(np.mean((read - weight) ** 2)) <= ERRORS[kind]


def test_a_mixed_file_has_the_requested_types(tmp_path: Path) -> None:
    q4, q6 = GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q6_K
    weights = Weights(kind=q4, others={"attn_v.weight": q6, "blk.1.ffn_down.weight": q6})
    head = read_head(write_tiny_gguf(tmp_path / "tiny.gguf", layers=2, weights=weights))

    assert {tensor.name for tensor in head.tensors if tensor.type == q6} == {
        *("blk.0.attn_v.weight", "blk.1.attn_v.weight", "blk.1.ffn_down.weight")
    }
