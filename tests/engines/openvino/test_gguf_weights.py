"""The weights of a converted graph match its file, in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from gguf import GGMLQuantizationType, GGUFReader
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize
from hypothesis import given, settings
from hypothesis import strategies as st

from crossette.engines.openvino.gguf import groups as groups_module
from crossette.engines.openvino.gguf import weights as weights_module
from crossette.engines.openvino.gguf.blocks import FORMATS, as_blocks
from crossette.engines.openvino.gguf.graph import write_graph
from crossette.engines.openvino.gguf.groups import Groups, grouped
from crossette.engines.openvino.gguf.head import read_head
from support.tiny_model import Weights, write_tiny_gguf

pytestmark = pytest.mark.model

Floats = npt.NDArray[np.float32]
T = GGMLQuantizationType

KINDS = [T.F32, T.F16, T.BF16, *FORMATS]
ROUNDING = 2.0**-21
"""Zero point and each intermediate value are rounded to 24 bits; any of them may be twice the largest weight of a
group."""


def build(gguf: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    write_graph(gguf, read_head(gguf), folder)
    return folder / "openvino_model.xml"


def matrices_of(graph: Path, part: str = "") -> dict[str, Floats]:
    """The matrices of a graph whose tensor names begin with `part`, as the plug-in computes them."""
    core = ov.Core()
    found = {}
    for node in core.read_model(graph).get_ops():
        name = node.get_friendly_name()
        if name.endswith(".weight") and name.startswith(part):
            compiled = core.compile_model(ov.Model([ov.opset13.result(node)], []), "CPU")
            found[name] = np.array(compiled([])[0])
    return found


def matrices_in(gguf: Path) -> dict[str, Floats]:
    """The matrices of a file, with the rows of llama's queries and keys in the graph's order."""
    reader = GGUFReader(gguf)
    llama = reader.fields["general.architecture"].contents() == "llama"
    found = {}
    for tensor in reader.tensors:
        if len(tensor.shape) == 2:
            columns, rows = (int(size) for size in tensor.shape)
            weight = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(rows, columns)
            if llama and tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
                heads = weight.reshape(-1, 64, columns)
                weight = np.concatenate([heads[:, 0::2], heads[:, 1::2]], axis=1).reshape(rows, columns)
            found[tensor.name] = weight
    return found


def distance(weights: Floats, wanted: Floats) -> float:
    """The largest difference of a weight, relative to the largest weight of its group."""
    parts = wanted.reshape(-1, 16)
    largest = np.maximum(np.abs(parts).max(-1), np.finfo(np.float32).tiny)
    return float((np.abs(weights.reshape(-1, 16) - parts).max(-1) / largest).max())


def distances(graph: Path, gguf: Path) -> dict[str, float]:
    there, wanted = matrices_of(graph), matrices_in(gguf)
    assert there.keys() == wanted.keys()
    return {name: distance(there[name], wanted[name]) for name in wanted}


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_weights_of_every_format_match_the_file(tmp_path: Path, kind: T, architecture: str) -> None:
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, architecture=architecture, weights=Weights(kind=kind))
    sizes = {tensor.type: 0 for tensor in read_head(file).tensors}
    for tensor in read_head(file).tensors:
        sizes[tensor.type] += tensor.size
    assert sizes[kind] >= 0.9 * sum(sizes.values())

    found = distances(build(file, tmp_path), file)

    assert max(found.values()) <= (ROUNDING if kind in FORMATS else 0.0)


def test_types_may_be_mixed_in_a_file(tmp_path: Path) -> None:
    others = {
        "attn_v.weight": T.Q6_K,
        "ffn_down.weight": T.Q5_0,
        "attn_k.weight": T.Q3_K,
        "blk.1.ffn_up.weight": T.BF16,
    }
    file = write_tiny_gguf(
        tmp_path / "m.gguf",
        layers=2,
        weights=Weights(kind=T.Q4_K, others={**others, "output.weight": T.Q8_0}, tied=False),
    )

    assert max(distances(build(file, tmp_path), file).values()) <= ROUNDING


def test_the_default_model_has_the_weights_of_its_file(default_gguf: Path, tmp_path: Path) -> None:
    there = matrices_of(build(default_gguf, tmp_path), "blk.29.")  # all of them take a minute
    wanted = matrices_in(default_gguf)

    assert len(there) == 7
    assert max(distance(weights, wanted[name]) for name, weights in there.items()) <= ROUNDING


def test_rounded_zero_points_would_be_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks the tests themselves: minima as integer multiples of scales, as an earlier conversion stored them."""

    def rounded(scales: Floats, minima: Floats | None, zero: int) -> Groups:
        found = grouped(scales, minima, zero)
        return Groups(found.scales, np.clip(np.round(found.zeros), 0, 15), found.flat)

    monkeypatch.setattr(groups_module, "grouped", rounded)
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, weights=Weights(kind=T.Q4_K))

    assert min(distances(build(file, tmp_path), file).values()) > 2.0**-6


def test_a_file_is_converted_in_pieces_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, weights=Weights(kind=T.Q4_K))
    expected = build(file, tmp_path / "at-once").with_suffix(".bin").read_bytes()
    monkeypatch.setattr(weights_module, "_PIECE", 256 * 37)

    assert build(file, tmp_path / "pieces").with_suffix(".bin").read_bytes() == expected


def test_a_two_bit_table_is_stored_in_four_bits(tmp_path: Path) -> None:
    """The plug-in would dequantise a whole two-bit table for each lookup."""
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, weights=Weights(kind=T.Q2_K))
    nodes = {node.get_friendly_name(): node for node in ov.Core().read_model(build(file, tmp_path)).get_ops()}

    assert nodes["token_embd.weight.integers"].get_element_type() == ov.Type.u4
    assert nodes["blk.0.ffn_up.weight.integers"].get_element_type() == ov.Type.u2


SCALES = {
    **dict.fromkeys((T.Q4_1, T.Q5_1, T.Q4_K, T.Q5_K), (0, 2)),
    **dict.fromkeys((T.Q4_0, T.Q5_0, T.Q8_0, T.IQ4_NL, T.IQ4_XS), (0,)),
    T.Q2_K: (80, 82),
    T.Q3_K: (108,),
    T.Q6_K: (208,),
    T.MXFP4: (),
}
"""Offsets of the 16-bit floats in a block: random bytes would make some of them NaN."""


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_blocks_of_any_bytes_are_read_to_the_last_bit(kind: T, seed: int) -> None:
    rng, (block, block_bytes) = np.random.default_rng(seed), GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (4, 768 // block, block_bytes), dtype=np.uint8)
    for offset in SCALES[kind]:
        numbers = rng.standard_normal(data.shape[:2]).astype(np.float16)
        data[..., offset : offset + 2] = numbers[..., None].view(np.uint8)
    if kind == T.MXFP4:
        data[..., 0] %= 250  # larger exponents overflow
    wanted = dequantize(data.reshape(4, -1), kind).reshape(4, -1)
    layout, blocks = FORMATS[kind], as_blocks(data.ravel(), kind, 4)

    integers = layout.integers(blocks).reshape(4, -1).astype(np.float32)
    scales = np.repeat(layout.scales(blocks).reshape(4, -1), layout.group, axis=1)
    if layout.minima is None:
        weights = (integers - layout.zero) * scales
    else:
        weights = integers * scales + np.repeat(layout.minima(blocks).reshape(4, -1), layout.group, axis=1)

    np.testing.assert_array_equal(weights, wanted)


def weights_of(scales: Any, minima: Any) -> tuple[Floats, Floats, Groups]:
    """The weights of groups of the integers 0 to 15: as stored, as expected, and the groups."""
    scales, minima = np.array([scales], np.float32), np.array([minima], np.float32)
    found = grouped(scales, minima, 0)
    integers = np.tile(np.arange(16, dtype=np.float32), (1, scales.size, 1))
    wanted = integers * scales[..., None] + minima[..., None]
    if found.flat is not None:
        integers[found.flat] = 0
    stored = (integers - found.zeros[..., None]) * found.scales[..., None]  # type: ignore[index]
    return stored, wanted, found


@pytest.mark.parametrize(
    ("scale", "minimum"),
    [
        (0.01, -0.08),
        (0.0, -0.08),
        (0.0, 0.08),
        (0.0, 0.0),
        (1e-9, -0.5),
        (1e-6, 0.25),
        (6e-8, 1.0),
        (1e-3, -60.0),
        (1e-40, 2.0),
    ],
)
def test_any_scale_and_minimum_can_be_stored(scale: float, minimum: float) -> None:
    stored, wanted, _ = weights_of([scale, 0.02], [minimum, -0.1])

    assert np.abs(stored[0, 0] - wanted[0, 0]).max() <= ROUNDING * np.abs(wanted[0, 0]).max()
