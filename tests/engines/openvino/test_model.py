"""The assumptions about OpenVINO's paged graph, which is not public API: an upgrade that breaks them fails here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from openvino._offline_transformations import paged_attention_transformation

from crossette.engines.openvino import model as model_file
from crossette.engines.openvino.model import ALIBI_SLOPES, PagedModel, load_paged
from crossette.engines.openvino.sliding_layers import SLIDING_WINDOW
from crossette.errors import ModelError
from support.engine_calls import TINY_CONTEXT

LAYERS = 2


def test_the_inputs_of_the_paged_graph_are_those_that_the_runner_feeds(tiny_model_dir: Path) -> None:
    model = load_paged(tiny_model_dir, threads=1, window=TINY_CONTEXT)

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


def test_the_outputs_are_f32_logits_and_hidden_states_of_the_wanted_tokens(tiny_model_dir: Path) -> None:
    outputs = load_paged(tiny_model_dir, threads=1, window=TINY_CONTEXT).compiled.outputs

    assert [(port.get_element_type().get_type_name(), str(port.get_partial_shape())) for port in outputs] == [
        ("f32", "[?,1,260]"),
        ("f32", "[?,1,128]"),
    ]


def test_a_block_takes_the_bytes_of_its_caches(tiny_model_dir: Path) -> None:
    model = load_paged(tiny_model_dir, threads=1, window=TINY_CONTEXT)

    assert model.units.block == LAYERS * 2 * 32 * 72  # 64 one-byte values, and their scale and zero point


def test_kernels_compute_in_f32_whatever_the_machine_prefers(tiny_model_dir: Path) -> None:
    compiled = load_paged(tiny_model_dir, threads=1, window=TINY_CONTEXT).compiled

    assert compiled.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32


def test_blocks_of_another_size_are_an_unknown_graph(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "BLOCK_SIZE", 16)

    with pytest.raises(ModelError, match=r"OpenVINO 2026.* does not support: .* blocks of 16 expected\. The family"):
        load_paged(tiny_model_dir, threads=1, window=TINY_CONTEXT)


def test_an_unknown_graph_of_another_release_names_the_supported_one(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "BLOCK_SIZE", 16)
    monkeypatch.setattr(ov, "__version__", "2026.40.0-1-x")

    with pytest.raises(ModelError, match=r"supports: pip install 'openvino==2026\.4\.\*'\.$"):
        load_paged(tiny_model_dir, threads=1, window=TINY_CONTEXT)


Change = Callable[[ov.Model], object]


@pytest.fixture
def changed(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], PagedModel]:
    """Load the model with a change to its paged graph."""

    def load(change: Change) -> PagedModel:
        def transform(model: ov.Model) -> None:
            paged_attention_transformation(model)
            change(model)

        monkeypatch.setattr(model_file, "paged_attention_transformation", transform)
        return load_paged(tiny_model_dir, threads=1, window=TINY_CONTEXT, family="odd_1")

    return load


def attentions(model: ov.Model) -> list[Any]:
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "PagedAttentionExtension"]
    assert len(found) == LAYERS
    return found


@pytest.mark.parametrize("names", [("selective_ssm",), ("selective_ssm", "state_of_tomorrow")])
def test_a_family_with_other_recurrent_states_is_refused_by_name(
    changed: Callable[[Change], PagedModel], names: tuple[str, ...]
) -> None:
    def add_states(model: ov.Model) -> None:
        for name in (f"{name}_state_table.{layer}" for name in ("conv", *names) for layer in range(2)):
            state = ops.parameter([-1, 4], np.float32, name=name)
            state.output(0).set_names({name})
            model.add_parameters([state])

    with pytest.raises(ModelError) as refused:
        changed(add_states)
    assert str(refused.value) == (
        f"The family 'odd_1' is not supported: the states of its recurrent layers ({', '.join(names)}) may depend"
        " on how a prompt is cut into steps, and its text on other requests. Choose a model of another family."
    )


def test_a_graph_that_lost_its_positions_is_refused(changed: Callable[[Change], PagedModel]) -> None:
    """The transformation produces this from a mask with positions that it does not recognise."""

    def forget(model: ov.Model) -> None:
        positions = model.input("position_ids")
        nowhere = ops.broadcast(ops.constant(np.int64(0)), ops.shape_of(model.input("input_ids")))
        for user in list(positions.get_node().output(0).get_target_inputs()):
            user.replace_source_output(nowhere.output(0))

    with pytest.raises(ModelError, match="'odd_1' is not supported yet: it encodes positions in the attention mask"):
        changed(forget)


def test_positions_of_another_name_are_not_reported_as_lost(changed: Callable[[Change], PagedModel]) -> None:
    def rename(model: ov.Model) -> None:
        model.input("position_ids").get_node().output(0).set_names({"68"})

    with pytest.raises(ModelError, match=r"unknown inputs \['68'\], missing \['position_ids'\].*The family 'odd_1'"):
        changed(rename)


def test_positions_may_be_slopes_of_the_attention(changed: Callable[[Change], PagedModel]) -> None:
    def slope(model: ov.Model) -> None:
        positions, slopes = model.input("position_ids"), ops.constant(np.array([0.5, 0.25], np.float32))
        nowhere = ops.broadcast(ops.constant(np.int64(0)), ops.shape_of(model.input("input_ids")))
        for user in list(positions.get_node().output(0).get_target_inputs()):
            user.replace_source_output(nowhere.output(0))
        for node in attentions(model):
            node.input(ALIBI_SLOPES).replace_source_output(slopes.output(0))

    assert changed(slope).caches


@pytest.mark.parametrize("computed", [False, True])
def test_layers_with_a_sliding_window_are_detected(changed: Callable[[Change], PagedModel], computed: bool) -> None:
    def slide(model: ov.Model) -> None:
        window = ops.constant(np.int32(256))
        length = ops.multiply(window, ops.constant(np.int32(1))) if computed else window
        attentions(model)[-1].input(SLIDING_WINDOW).replace_source_output(length.output(0))

    assert changed(slide).sliding_window == 256
    assert changed(lambda model: None).sliding_window == 0


def test_an_additional_input_is_an_unknown_graph(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "INPUTS", model_file.INPUTS - {"past_lens"})

    with pytest.raises(ModelError, match=r"unknown inputs \['past_lens'\], missing \[\]"):
        load_paged(tiny_model_dir, threads=1, window=TINY_CONTEXT)


def test_a_missing_input_is_an_unknown_graph(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "INPUTS", model_file.INPUTS | {"score_aggregation_window"})

    with pytest.raises(ModelError, match=r"unknown inputs \[\], missing \['score_aggregation_window'\]"):
        load_paged(tiny_model_dir, threads=1, window=TINY_CONTEXT)


def test_a_transformation_that_does_nothing_is_an_unknown_graph(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "paged_attention_transformation", lambda model: None)

    with pytest.raises(ModelError, match="does not support"):
        load_paged(tiny_model_dir, threads=1, window=TINY_CONTEXT)


def test_a_folder_without_a_graph_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"OpenVINO cannot serve .*openvino_model\.xml"):
        load_paged(tmp_path, threads=1, window=TINY_CONTEXT)


def test_a_graph_without_attention_is_refused_by_name(tmp_path: Path) -> None:
    parameter = ops.parameter([1, 3], name="x")
    ov.save_model(ov.Model([ops.relu(parameter)], [parameter], "not an LLM"), tmp_path / "openvino_model.xml")

    with pytest.raises(ModelError, match=r"The family 'mamba' is not supported: its graph has no attention"):
        load_paged(tmp_path, threads=1, window=TINY_CONTEXT, family="mamba")
