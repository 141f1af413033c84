"""A converted model that does not match its file is not stored."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter
from gguf.constants import GGMLQuantizationType

from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.gguf import check, groups
from crossette.engines.openvino.gguf.check import verify
from crossette.engines.openvino.gguf.head import read_head
from crossette.errors import ModelError
from crossette.types import Difference
from support.tiny_model import Weights, write_tiny_gguf

pytestmark = pytest.mark.model

Q4_K = GGMLQuantizationType.Q4_K


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = Weights(kind=Q4_K, sharpness=2.5)
    return write_tiny_gguf(tmp_path_factory.mktemp("check") / "tiny.gguf", layers=2, weights=weights)


@pytest.fixture(scope="module")
def converted(file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Difference]:
    folder = tmp_path_factory.mktemp("converted")
    difference = convert(file, folder).difference
    assert difference is not None
    return folder, difference


def test_conversion_returns_the_measured_difference(file: Path, converted: tuple[Path, Difference]) -> None:
    folder, difference = converted

    assert 0 <= difference.kl < 0.0002 and 0 <= difference.largest < 0.05
    assert 0 <= difference.weights < 0.00001 and difference.is_rounding
    assert verify(file, read_head(file), folder, add_bos=False) == difference
    assert verify(file, read_head(file), folder, add_bos=True).kl < 0.0002


def test_queries_and_keys_are_verified_where_only_part_of_each_head_is_rotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = lambda writer, size: writer.add_uint32("llama.rope.dimension_count", size // 2)  # noqa: E731
    monkeypatch.setattr(GGUFWriter, "add_rope_dimension_count", half)
    file = write_tiny_gguf(tmp_path / "tiny.gguf", layers=1)

    assert convert(file, tmp_path).difference is not None


def rewritten(folder: Path, target: Path, change: Callable[[Any], None]) -> Path:  # Any: openvino has no types
    """A copy of the model with a changed graph."""
    import openvino as ov

    shutil.copytree(folder, target)
    model = ov.Core().read_model(folder / "openvino_model.xml")
    change(model)
    ov.save_model(model, target / "openvino_model.xml", compress_to_fp16=False)
    return target


def round_zero_points(model: Any) -> None:
    """Round zero points to four-bit integers, as openvino_genai does."""
    from openvino import opset13 as ops

    rounded = 0
    for node in model.get_ops():
        if node.get_type_name() == "Subtract":
            zeros = node.input_value(1).get_node()
            if zeros.get_type_name() == "Constant" and node.input_value(0).get_node().get_type_name() == "Convert":
                integers = np.clip(np.round(zeros.data), 0, 15).astype(np.float32)
                node.input(1).replace_source_output(ops.constant(integers).output(0))
                rounded += 1
    assert rounded > 10


def test_rounded_zero_points_are_detected_by_the_rows(
    file: Path, converted: tuple[Path, Difference], tmp_path: Path
) -> None:
    folder = rewritten(converted[0], tmp_path / "rounded", round_zero_points)

    with pytest.raises(
        ModelError, match=r"tiny\.gguf: .* rows of '(blk|token_embd)\..*' are [1-9]\d?\.\d\d% off, .* 0\.01%"
    ):
        verify(file, read_head(file), folder, add_bos=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [("llama.rope.freq_base", 500_000.0), ("llama.attention.layer_norm_rms_epsilon", 0.3)],
)
def test_another_computation_with_the_same_weights_is_detected_by_the_text(
    file: Path, converted: tuple[Path, Difference], key: str, value: float
) -> None:
    head = read_head(file)
    other = replace(head, metadata={**head.metadata, key: value})

    with pytest.raises(ModelError, match=r"on a short text its logprobs are up to \d.* nats per token \(0\.002\)"):
        verify(file, other, converted[0], add_bos=False)


def test_the_weights_of_another_file_are_detected(converted: tuple[Path, Difference], tmp_path: Path) -> None:
    other = write_tiny_gguf(tmp_path / "other.gguf", layers=2, seed=1, weights=Weights(kind=Q4_K))

    with pytest.raises(ModelError, match=r"rows of '.*' are \d+\.\d\d% off"):
        verify(other, read_head(other), converted[0], add_bos=False)


def test_a_matrix_missing_in_the_graph_is_detected(converted: tuple[Path, Difference], tmp_path: Path) -> None:
    other = write_tiny_gguf(tmp_path / "other.gguf", layers=2, weights=Weights(kind=Q4_K, feed_forward=768))

    with pytest.raises(ModelError, match=r"rows of 'blk\.0\.ffn_.*' are inf% off"):
        verify(other, read_head(other), converted[0], add_bos=False)


def test_a_graph_that_computes_nan_is_detected(
    file: Path, converted: tuple[Path, Difference], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        check.ConvertedModel, "logits", lambda self, tokens: np.full((len(tokens), 260), np.nan, np.float32)
    )

    with pytest.raises(ModelError, match="up to nan off"):
        verify(file, read_head(file), converted[0], add_bos=False)


def test_a_file_that_fails_the_check_leaves_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rounded(scales: Any, minima: Any, zero: int) -> groups.Groups:
        made = exact(scales, minima, zero)
        return replace(made, zeros=np.round(made.zeros))

    exact = groups.grouped
    monkeypatch.setattr(groups, "grouped", rounded)

    with pytest.raises(ModelError, match="it does not match the file"):
        convert(file, tmp_path)
    assert list(tmp_path.iterdir()) == []
