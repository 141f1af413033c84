"""The weights of a converted graph are those of its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize

import crossette.engines.openvino  # noqa: F401  # openvino is imported the way that this package does it
from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.gguf.blocks import Groups, with_zero_points
from tiny_model import Weights, write_tiny_gguf

Floats = npt.NDArray[np.float32]

Q4_1, Q4_K = GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q4_K


def matrices_of(graph: Path) -> Iterator[Floats]:
    """The weights of each matrix of 4 bits in a graph."""
    import openvino as ov

    for subtract in ov.Core().read_model(graph).get_ops():
        if subtract.get_type_name() == "Subtract":
            integers = source(source(subtract, 0), 0)
            if integers.get_element_type() != ov.Type.u4:
                continue
            [multiply] = [port.get_node() for port in subtract.output(0).get_target_inputs()]
            zeros = source(subtract, 1)
            if zeros.get_type_name() == "Convert":
                zeros = zeros.input_value(0).get_node()
            weights = (numbers(integers) - numbers(zeros)) * numbers(source(multiply, 1))
            yield weights.reshape(len(weights), -1)


def numbers(constant: Any) -> Floats:
    shape, data = constant.get_output_shape(0), constant.data
    if constant.get_element_type().bitwidth == 4:
        data = np.stack([data.ravel() & 15, data.ravel() >> 4], -1)
    values: Floats = data.reshape(shape).astype(np.float32)
    return values


def source(node: Any, port: int) -> Any:  # Any: openvino has no types
    return node.input_value(port).get_node()


def matrices_in(gguf: Path, kind: GGMLQuantizationType) -> dict[str, Floats]:
    """The weights of each matrix of a kind, rows of llama's queries and keys in the order of the graph."""
    reader = GGUFReader(gguf)
    found = {}
    for tensor in reader.tensors:
        if tensor.tensor_type == kind:
            weight = np.asarray(dequantize(tensor.data, kind), np.float32)
            if reader.fields["general.architecture"].contents() == "llama" and tensor.name[-13:-7] in (
                "attn_q",
                "attn_k",
            ):
                weight = np.concatenate(
                    [np.vstack([h[0::2], h[1::2]]) for h in weight.reshape(-1, 64, weight.shape[1])]
                )
            found[tensor.name] = weight
    return found


def difference(graph: Path, gguf: Path, kind: GGMLQuantizationType) -> float:
    """The largest difference between a weight of the file and of the graph, in units of the largest of its group."""
    there = list(matrices_of(graph))
    wanted = matrices_in(gguf, kind)
    assert wanted
    largest = 0.0
    for weight in wanted.values():
        nearest = min(there, key=lambda weights: distance(weights[:1], weight[:1]))
        largest = max(largest, distance(nearest, weight))
    return largest


def distance(weights: Floats, wanted: Floats) -> float:
    if weights.shape != wanted.shape:
        return np.inf
    groups = wanted.reshape(-1, 32)
    largest = np.maximum(np.abs(groups).max(-1), np.finfo(np.float32).tiny)
    return float((np.abs(weights.reshape(-1, 32) - groups).max(-1) / largest).max())


ROUNDING = 2.0**-9
"""Scale and zero point are rounded to 11 bits each, and differ by up to twice the largest weight."""


@pytest.mark.parametrize("kind", [Q4_1, Q4_K])
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_a_random_model_has_the_weights_of_its_file(
    tmp_path: Path, kind: GGMLQuantizationType, architecture: str
) -> None:
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=2, architecture=architecture, weights=Weights(kind=kind))
    convert(file, tmp_path)

    assert difference(tmp_path / "openvino_model.xml", file, kind) < ROUNDING


def test_the_default_model_has_the_weights_of_its_file(default_gguf: Path, tmp_path: Path) -> None:
    convert(default_gguf, tmp_path)

    assert difference(tmp_path / "openvino_model.xml", default_gguf, Q4_1) < ROUNDING


def test_rounded_zero_points_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests are for: the graph as openvino_genai writes it."""
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, weights=Weights(kind=Q4_K))
    monkeypatch.setattr("crossette.engines.openvino.convert.correct_zero_points", lambda *_: None)
    convert(file, tmp_path)

    assert difference(tmp_path / "openvino_model.xml", file, Q4_K) > 30 * ROUNDING


@pytest.mark.parametrize(
    ("scale", "minimum"),
    [(0.01, -0.08), (0.0, -0.08), (0.0, 0.08), (0.0, 0.0), (1e-9, -0.5), (1e-6, 0.25), (6e-8, 1.0), (1e-3, -60.0)],
)
def test_any_scale_and_minimum_have_a_zero_point(scale: float, minimum: float) -> None:
    integers = np.arange(32, dtype=np.uint8).reshape(1, 32) % 16
    wanted = np.float32(scale) * integers + np.float32(minimum)

    groups = Groups(integers, np.array([[scale]], np.float32), np.array([[minimum]], np.float32))
    found = with_zero_points(groups)
    weights = (found.integers - found.zero_points.astype(np.float32)) * found.scales.astype(np.float32)

    assert np.abs(weights - wanted).max() <= ROUNDING * np.abs(wanted).max()
