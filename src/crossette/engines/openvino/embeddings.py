"""Embeddings in front of a language model that takes them instead of token ids: that of an image-text model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from crossette.errors import ModelError

LANGUAGE_XML = "openvino_language_model.xml"
TEXT_XML = "openvino_text_embeddings_model.xml"
PER_LAYER_XML = "openvino_text_embeddings_per_layer_model.xml"

IMAGE_ROWS = "image_rows"
"""An input that we add: the embeddings of images in a step, `[rows, width]`; at least one row."""
SOURCES = "embedding_sources"
"""An input that we add: for each of the n tokens of a step its own index i, or n + j for row j of `IMAGE_ROWS`."""

_TOKEN_TYPES = 25
"""The input port of an attention node for the types of tokens, text or image. Without values all are text."""


def graph_files(directory: Path) -> tuple[Path, ...]:
    """The graph of a model folder; for an image-text model the language model and the graphs of its embeddings."""
    if (directory / LANGUAGE_XML).is_file():
        per_layer = directory / PER_LAYER_XML
        return directory / LANGUAGE_XML, directory / TEXT_XML, *([per_layer] if per_layer.is_file() else ())
    return (directory / "openvino_model.xml",)


def add_embeddings(model: ov.Model, text: ov.Model, per_layer: ov.Model | None = None) -> None:
    """Let a paged graph take `input_ids`, `IMAGE_ROWS` and `SOURCES` instead of `inputs_embeds`.

    `text` is the graph from token ids to embeddings. Rows are copied, so an image's are the same in every step.
    `per_layer` is the graph from token ids to what each layer adds, in Gemma 3n and 4. Raises ModelError without an
    input or a graph that is needed.
    """
    embeds = _required(model, "inputs_embeds")
    ids = ops.parameter([-1], np.int64, name="input_ids")
    column = ops.unsqueeze(ids, ops.constant(np.int64(1)))
    result = _computed(text, column)
    images = ops.parameter([-1, result.get_partial_shape()[2].get_length()], np.float32, name=IMAGE_ROWS)
    sources = ops.parameter([-1], np.int64, name=SOURCES)
    for parameter, name in ((ids, "input_ids"), (images, IMAGE_ROWS), (sources, SOURCES)):
        parameter.get_output_tensor(0).set_names({name})
    rows = ops.concat([ops.squeeze(result, ops.constant(np.int64(1))), images.output(0)], 0)
    _give(model, embeds, ops.gather(rows, sources, ops.constant(np.int64(0))).output(0))
    model.add_parameters([ids, images, sources])
    if (layers := _parameter(model, "per_layer_inputs")) is not None:
        if per_layer is None:
            raise ModelError(f"The model needs {PER_LAYER_XML}, which is missing. Pull or export it again.")
        _give(model, layers, _computed(per_layer, column))
    _read_text_alone(model, column)
    model.validate_nodes_and_infer_types()


def _read_text_alone(model: ov.Model, column: ov.Node) -> None:
    """Give the inputs that only images need their values for text. `column` are the token ids, `[tokens, 1]`."""
    if (types := _parameter(model, "token_type_ids")) is not None:
        for node in model.get_ops():
            if node.get_type_name() == "PagedAttentionExtension":
                node.input(_TOKEN_TYPES).replace_source_output(ops.constant(np.zeros(0, np.int32)).output(0))
        _give(model, types, _filled(0, column))  # its shape is used elsewhere
    if (masks := _parameter(model, "visual_pos_masks")) is not None:
        _give(model, masks, _filled(False, column))
    if (deep := _parameter(model, "deepstack_visual_embeds")) is not None:
        layers, _, width = deep.get_partial_shape()
        count = 1 if layers.is_dynamic else layers.get_length()
        _give(model, deep, ops.constant(np.zeros((count, 1, width.get_length()), np.float32)).output(0))


def _filled(value: int | bool, like: ov.Node) -> ov.Output:
    return ops.broadcast(ops.constant(np.array(value)), ops.shape_of(like)).output(0)


def _computed(graph: ov.Model, column: ov.Node) -> ov.Output:
    """The output of a graph of token ids, computed from `column`."""
    _replace(graph.get_parameters()[0], column.output(0))
    return graph.get_results()[0].input_value(0)


def take_one_position(model: ov.Model) -> None:
    """Let a graph with several positions for each token take one, as in text all are equal.

    Qwen2-VL has three: time, height and width. Qwen3.5 has one more in front, the index of the token.
    """
    positions = _required(model, "position_ids")
    shape = positions.get_partial_shape()
    if shape.rank.get_length() == 1:
        return
    one = ops.parameter([-1], np.int64, name="position_ids")
    one.get_output_tensor(0).set_names({"position_ids"})
    axes = ops.constant(np.array([shape[0].get_length(), 1]))
    _give(model, positions, ops.tile(ops.unsqueeze(one, ops.constant(np.int64(0))), axes).output(0))
    model.add_parameters([one])
    model.validate_nodes_and_infer_types()


def _give(model: ov.Model, parameter: ov.Node, value: ov.Output) -> None:
    """Let a graph compute an input."""
    _replace(parameter, value)
    model.remove_parameter(parameter)


def _replace(parameter: ov.Node, value: ov.Output) -> None:
    for port in parameter.output(0).get_target_inputs():
        port.replace_source_output(value)


def _required(model: ov.Model, name: str) -> ov.Node:
    """Raises ModelError if the graph has no such input."""
    if (parameter := _parameter(model, name)) is None:
        raise ModelError(f"The language model of this image-text model has no input '{name}', so it cannot be served.")
    return parameter


def _parameter(model: ov.Model, name: str) -> ov.Node | None:
    return next((one for one in model.get_parameters() if name in one.output(0).get_names()), None)
