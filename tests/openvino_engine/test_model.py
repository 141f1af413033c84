"""What is relied on of OpenVINO's paged graph, which is not its public API: an upgrade that changes it fails here."""

from __future__ import annotations

from pathlib import Path

import openvino as ov
import pytest
from openvino import opset13 as ops

from crossette.engines.openvino import model as model_file
from crossette.engines.openvino.model import load_paged
from crossette.errors import ModelError

LAYERS = 2


def test_the_inputs_of_the_paged_graph_are_those_that_the_runner_feeds(tiny_model_dir: Path) -> None:
    model = load_paged(tiny_model_dir, threads=1)

    inputs = {
        port.get_any_name(): (port.get_element_type().get_type_name(), str(port.get_partial_shape()))
        for port in model.compiled.inputs
    }
    caches = {f"{kind}_cache.{layer}": ("u8", "[?,1,32,72]") for kind in ("key", "value") for layer in range(LAYERS)}
    assert inputs == {
        "input_ids": ("i64", "[?]"),
        "position_ids": ("i64", "[?]"),
        "past_lens": ("i32", "[?]"),
        "subsequence_begins": ("i32", "[?]"),
        "block_indices": ("i32", "[?]"),
        "block_indices_begins": ("i32", "[?]"),
        "max_context_len": ("i32", "[]"),
        "sampled_tokens_indices": ("i64", "[?]"),
        **caches,
    }


def test_logits_are_f32_for_every_wanted_row_and_nothing_else_comes_out(tiny_model_dir: Path) -> None:
    outputs = load_paged(tiny_model_dir, threads=1).compiled.outputs

    assert [(port.get_element_type().get_type_name(), str(port.get_partial_shape())) for port in outputs] == [
        ("f32", "[?,1,260]")
    ]


def test_a_block_takes_the_bytes_of_its_caches(tiny_model_dir: Path) -> None:
    model = load_paged(tiny_model_dir, threads=1)

    assert model.block_bytes == LAYERS * 2 * 32 * 72  # 64 values of a byte, and their scale and zero point


def test_kernels_compute_in_f32_whatever_the_machine_prefers(tiny_model_dir: Path) -> None:
    compiled = load_paged(tiny_model_dir, threads=1).compiled

    assert compiled.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32


def test_blocks_of_another_size_are_an_unknown_graph(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "BLOCK_SIZE", 16)

    with pytest.raises(ModelError, match=r"OpenVINO 2026.* does not know: .* blocks of 16 expected\. Install the"):
        load_paged(tiny_model_dir, threads=1)


def test_an_input_more_is_an_unknown_graph(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "INPUTS", model_file.INPUTS - {"past_lens"})

    with pytest.raises(ModelError, match=r"unknown inputs \['past_lens'\], missing \[\]"):
        load_paged(tiny_model_dir, threads=1)


def test_an_input_less_is_an_unknown_graph(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "INPUTS", model_file.INPUTS | {"score_aggregation_window"})

    with pytest.raises(ModelError, match=r"unknown inputs \[\], missing \['score_aggregation_window'\]"):
        load_paged(tiny_model_dir, threads=1)


def test_a_transformation_that_does_nothing_is_an_unknown_graph(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "paged_attention_transformation", lambda model: None)

    with pytest.raises(ModelError, match="does not know"):
        load_paged(tiny_model_dir, threads=1)


def test_a_folder_without_a_graph_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"OpenVINO cannot serve .*openvino_model\.xml"):
        load_paged(tmp_path, threads=1)


def test_a_graph_that_is_no_llm_is_an_error(tmp_path: Path) -> None:
    parameter = ops.parameter([1, 3], name="x")
    ov.save_model(ov.Model([ops.relu(parameter)], [parameter], "not an LLM"), tmp_path / "openvino_model.xml")

    with pytest.raises(ModelError):
        load_paged(tmp_path, threads=1)
