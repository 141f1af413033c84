"""The graph of a GGUF file matches the reference: all families, all rope scalings, and their parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from gguf import GGMLQuantizationType, GGUFWriter

from crossette.engines.openvino.gguf import reference
from crossette.engines.openvino.gguf.families import FAMILIES
from crossette.engines.openvino.gguf.graph import write_graph
from crossette.engines.openvino.gguf.head import GgufHead, Value, read_head
from crossette.engines.openvino.gguf.rotary import Factors, Rotary, read_rotary
from crossette.engines.openvino.gguf.shape import Shape
from crossette.engines.openvino.kv_cache import blocks_for
from crossette.engines.openvino.model import load_paged
from crossette.engines.openvino.runner import Runner, Subsequence
from support.tiny_model import Weights, write_tiny_gguf

pytestmark = pytest.mark.model

Floats = npt.NDArray[np.float32]

F32, Q4_0 = GGMLQuantizationType.F32, GGMLQuantizationType.Q4_0
TOKENS = [3 + (7 * i * i + 5 * i) % 256 for i in range(100)]
"""Longer than the original context length of the rope scalings."""


def logits(gguf: Path, folder: Path, tokens: list[int] = TOKENS) -> Floats:
    """Logits of a text in two chunks, as the engine computes them. Without quantised matrices the KV cache is f16."""
    write_graph(gguf, read_head(gguf), folder)
    blocks = list(range(blocks_for(len(tokens))))
    runner = Runner(load_paged(folder, threads=1, window=len(tokens)), len(blocks), threads=1)
    chunks = [Subsequence(tokens[:60], 0, blocks, 60), Subsequence(tokens[60:], 60, blocks, len(tokens) - 60)]
    return np.concatenate([runner.forward([chunk]).copy() for chunk in chunks])


def log_probs(values: Floats) -> Floats:
    below = values - values.max(-1, keepdims=True)
    found: Floats = below - np.log(np.exp(below).sum(-1, keepdims=True))
    return found


def difference(gguf: Path, folder: Path) -> float:
    """The largest logprob difference from the reference."""
    wanted = log_probs(reference.logits(gguf, read_head(gguf), TOKENS))
    assert wanted.std() > 1
    return float(np.abs(log_probs(logits(gguf, folder)) - wanted).max())


CASES = {
    "llama": ("llama", Weights(kind=F32)),
    "llama, separate head": ("llama", Weights(kind=F32, tied=False)),
    "llama, llama3 rope": ("llama", Weights(kind=F32, rope="llama3")),
    "llama, linear rope": ("llama", Weights(kind=F32, rope="linear")),
    "qwen2, YaRN rope": ("qwen2", Weights(kind=F32, rope="yarn")),
    "qwen2, with biases": ("qwen2", Weights(kind=F32)),
    "qwen3, with query and key norms": ("qwen3", Weights(kind=F32, tied=False)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_graph_matches_the_reference(tmp_path: Path, name: str) -> None:
    architecture, weights = CASES[name]
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=2, architecture=architecture, weights=weights)

    assert difference(file, tmp_path) < 0.01


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("width", [64, 192])
def test_heads_need_not_share_keys(tmp_path: Path, architecture: str, width: int) -> None:
    weights = Weights(kind=F32)
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=2, width=width, architecture=architecture, weights=weights)

    assert difference(file, tmp_path) < 0.01


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_a_part_of_a_head_may_be_rotated(tmp_path: Path, architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GGUFWriter, "add_rope_dimension_count", _half_of(GGUFWriter.add_rope_dimension_count))
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=2, architecture=architecture, weights=Weights(kind=F32))
    head_size = 128 if architecture == "qwen3" else 64
    assert read_head(file).number(f"{architecture}.rope.dimension_count") == head_size // 2

    assert difference(file, tmp_path) < 0.01


def _half_of(add: Callable[[GGUFWriter, int], None]) -> Callable[[GGUFWriter, int], None]:
    return lambda writer, size: add(writer, size // 2)


def test_the_cache_has_16_bits_only_where_no_weights_are_quantised(tmp_path: Path) -> None:
    kinds = {}
    for kind in (F32, Q4_0):
        file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, weights=Weights(kind=kind))
        write_graph(file, read_head(file), tmp_path)
        kinds[kind] = {cache.element_type for cache in load_paged(tmp_path, threads=1, window=64).caches}

    assert kinds == {F32: {ov.Type.f16}, Q4_0: {ov.Type.u8}}


def test_a_tied_head_is_stored_once(tmp_path: Path) -> None:
    sizes = {}
    for tied in (True, False):
        file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, weights=Weights(tied=tied))
        write_graph(file, read_head(file), tmp_path)
        sizes[tied] = (tmp_path / "openvino_model.bin").stat().st_size

    assert sizes[False] - sizes[True] > 259 * 256


SHAPE = Shape("llama", 512, layers=1, heads=8, kv_heads=8, head_size=64, epsilon=1e-5)


def rotary(head: GgufHead, factors: Floats | None = None) -> Rotary:
    return read_rotary(head, FAMILIES["llama"], SHAPE, Factors(factors))


BASE = {"llama.rope.freq_base": 10_000.0}
SCALED = {**BASE, "llama.rope.scaling.factor": 4.0}


@pytest.mark.parametrize(
    "metadata",
    [
        {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
        {"llama.rope.scaling.type": "linear", "llama.rope.scale_linear": 4.0},
        {"llama.rope.scaling.factor": 4.0},
        {"llama.rope.scale_linear": 4.0},
    ],
)
def test_a_linear_factor_divides_the_frequencies(metadata: dict[str, Value]) -> None:
    plain = rotary(GgufHead(BASE, ()))
    linear = rotary(GgufHead({**BASE, **metadata}, ()))

    assert plain.frequencies[[0, 16]] == pytest.approx([1, 0.01])
    np.testing.assert_allclose(linear.frequencies, plain.frequencies / 4, rtol=1e-6)


def test_scaling_type_none_ignores_the_factor() -> None:
    plain = rotary(GgufHead(BASE, ()))
    none = rotary(GgufHead({**SCALED, "llama.rope.scaling.type": "none"}, ()))

    np.testing.assert_array_equal(none.frequencies, plain.frequencies)


def test_factors_of_pairs_divide_their_frequencies() -> None:
    plain = rotary(GgufHead(BASE, ()))
    factors = rotary(GgufHead(BASE, ()), np.full(32, 4, np.float32))

    np.testing.assert_allclose(factors.frequencies, plain.frequencies / 4, rtol=1e-6)


EVERY_FOURTH = [1.0, 0.3162278, 0.1, 0.02432521, 0.005384615, 0.0009730086, 0.00025, 7.905695e-05]
"""Every fourth of 32 frequencies, as computed by transformers 5.5."""


@pytest.mark.parametrize("length_key", ["llama.rope.scaling.original_context_length", "llama.context_length"])
def test_yarn_matches_transformers(length_key: str) -> None:
    metadata: dict[str, Value] = {**SCALED, "llama.rope.scaling.type": "yarn", length_key: 2048}
    found = rotary(GgufHead(metadata, ()))

    assert found.frequencies[::4] == pytest.approx(EVERY_FOURTH, rel=1e-6)
    assert found.magnitude == pytest.approx(1.138629436111989)
