"""Converted models match the weights of their files, within the bounds of docs/accuracy.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.gguf import reference
from crossette.engines.openvino.gguf.check import ConvertedModel
from crossette.engines.openvino.gguf.compare import compare
from crossette.engines.openvino.gguf.head import GgufHead, read_head
from crossette.engines.openvino.tokenizer import load_tokenizer
from crossette.models.store import StoredModel
from support.gguf_mixtures import FLOATS, MIXED, PURE, SUPER_BLOCKS, weights_of
from support.tiny_model import write_tiny_gguf

pytestmark = pytest.mark.model

PROSE = Path(__file__).parents[2] / "data" / "prose.txt"
NUM_TOKENS = 512
"""Tokens of the text that are compared."""
LAYERS = 3
"""In mixtures one layer gets the types with fewer bits, two get those with more."""
SHARPNESS = 3.0

TOKENS = np.random.default_rng(5).integers(3, 259, 160).tolist()

CASES = [
    *(("llama", 256, kind) for kind in (*PURE, *FLOATS, *MIXED)),
    *(("qwen2", 256, kind) for kind in ("Q4_0", "Q8_0", "Q4_K_M")),
    *(("qwen3", 512, kind) for kind in (*SUPER_BLOCKS, "Q4_1", "Q4_K_M")),
    *(("llama", 192, kind) for kind in ("Q4_K_M", "Q5_K_M")),
]
"""Families, widths and types. Rows of 192 do not fill super-blocks, so those files also use Q5_0, Q5_1 and Q8_0."""


def test_the_default_model_matches_its_file(real_model: StoredModel, default_gguf: Path) -> None:
    tokenizer = load_tokenizer(real_model.path, add_bos=real_model.record.add_bos)
    tokens = tokenizer.encode(PROSE.read_text(encoding="utf-8"), specials=False)[:NUM_TOKENS]
    served = ConvertedModel(real_model.path, max_tokens=NUM_TOKENS).logits(tokens)

    found = compare(reference.logits(default_gguf, read_head(default_gguf), tokens), served, tokens)

    assert found.found.mean() == pytest.approx(found.expected.mean(), rel=0.002)
    assert found.kl.mean() <= 0.002
    assert found.mean <= 0.03
    assert found.agrees.mean() >= 0.98


@pytest.mark.parametrize(("family", "width", "quantization"), CASES)
def test_tiny_models_of_every_type_match_their_files(
    tmp_path: Path, family: str, width: int, quantization: str
) -> None:
    weights = weights_of(quantization, LAYERS, sharpness=SHARPNESS, tied=family != "qwen3", feed_forward=512)
    file = write_tiny_gguf(tmp_path / "tiny.gguf", layers=LAYERS, width=width, architecture=family, weights=weights)
    head = read_head(file)
    assert share_of(quantization, head) >= 0.9 or quantization in MIXED
    expected = reference.logits(file, head, TOKENS)
    difference = convert(file, tmp_path).difference

    found = compare(
        expected, ConvertedModel(tmp_path, max_tokens=len(TOKENS), kv_cache_dtype="f32").logits(TOKENS), TOKENS
    )

    assert found.entropy.mean() < 0.6 * np.log(expected.shape[1]), "the distributions are too flat to test anything"
    assert difference is not None and difference.weights <= 0.01
    assert found.kl.mean() <= 0.002
    assert found.largest <= 0.1
    assert found.agrees[found.lead > 0.05].all()


def share_of(quantization: str, head: GgufHead) -> float:
    """The share of a file's weights that have that type."""
    matrices = [tensor for tensor in head.tensors if len(tensor.shape) == 2]
    sizes = [np.prod(tensor.shape) for tensor in matrices]
    return float(sum(size for size, m in zip(sizes, matrices, strict=True) if m.type.name == quantization) / sum(sizes))


@pytest.mark.parametrize("quantization", ["F16", "Q4_K"])
def test_positions_far_from_the_start_are_as_exact(tmp_path: Path, quantization: str) -> None:
    """The error of 16-bit rotary frequencies grows with the position, so short texts do not show it."""
    tokens = np.random.default_rng(6).integers(3, 259, 3000).tolist()
    weights = weights_of(quantization, 1, sharpness=SHARPNESS)
    file = write_tiny_gguf(tmp_path / "tiny.gguf", layers=1, weights=weights)
    convert(file, tmp_path)

    served = ConvertedModel(tmp_path, max_tokens=len(tokens), kv_cache_dtype="f32").logits(tokens)
    found = compare(reference.logits(file, read_head(file), tokens), served, tokens)

    assert found.kl[-500:].mean() <= 5 * found.kl[:500].mean() + 1e-6


def test_mixtures_have_several_types(tmp_path: Path) -> None:
    weights = weights_of("Q4_K_M", LAYERS)
    wide = read_head(write_tiny_gguf(tmp_path / "wide.gguf", layers=LAYERS, weights=weights))
    narrow = weights_of("Q4_K_M", LAYERS, feed_forward=512)
    short = read_head(write_tiny_gguf(tmp_path / "narrow.gguf", layers=LAYERS, width=192, weights=narrow))

    assert {tensor.type.name for tensor in wide.tensors} == {"F32", "Q4_K", "Q6_K"}
    assert {tensor.type.name for tensor in short.tensors} == {"F32", "Q4_K", "Q6_K", "Q5_0", "Q8_0"}


def test_compare_finds_differences() -> None:
    logits = np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32) * 3
    other = logits.copy()
    other[7, :25] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    same, different = compare(logits, logits, range(20)), compare(logits, other, range(20))

    assert (same.kl.max(), same.largest) == (0, 0) and same.agrees.all()
    assert different.kl[7] > 0.01 and not different.kl[np.arange(19) != 7].any()
    assert same.entropy == pytest.approx(-(probabilities * np.log(probabilities)).sum(-1)[:-1], rel=1e-5)
    assert np.exp(same.expected) == pytest.approx(probabilities[range(19), range(1, 20)], rel=1e-5)
