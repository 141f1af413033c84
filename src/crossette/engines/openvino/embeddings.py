"""Embeddings in front of a language model that takes them instead of token ids: that of an image-text model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from crossette.errors import ModelError

LANGUAGE_XML = "openvino_language_model.xml"
TEXT_XML = "openvino_text_embeddings_model.xml"

IMAGE_ROWS = "image_rows"
"""An input that we add: the embeddings of images in a step, `[rows, width]`; at least one row."""
SOURCES = "embedding_sources"
"""An input that we add: for each of the n tokens of a step its own index i, or n + j for row j of `IMAGE_ROWS`."""


def graph_files(directory: Path) -> tuple[Path, ...]:
    """The graph of a model folder; for an image-text model the language model and its token embeddings."""
    if (directory / LANGUAGE_XML).is_file():
        return directory / LANGUAGE_XML, directory / TEXT_XML
    return (directory / "openvino_model.xml",)


def add_embeddings(model: ov.Model, text: ov.Model) -> None:
    """Let a paged graph take `input_ids`, `IMAGE_ROWS` and `SOURCES` instead of `inputs_embeds`.

    `text` is the graph from token ids to embeddings. Rows are copied, so an image's are the same in every step.
    """
    embeds = _parameter(model, "inputs_embeds")
    ids = ops.parameter([-1], np.int64, name="input_ids")
    table, result = text.get_parameters()[0], text.get_results()[0].input_value(0)
    width = result.get_partial_shape()[2].get_length()
    _replace(table, ops.unsqueeze(ids, ops.constant(np.int64(1))))
    images = ops.parameter([-1, width], np.float32, name=IMAGE_ROWS)
    sources = ops.parameter([-1], np.int64, name=SOURCES)
    for parameter, name in ((ids, "input_ids"), (images, IMAGE_ROWS), (sources, SOURCES)):
        parameter.get_output_tensor(0).set_names({name})
    rows = ops.concat([ops.squeeze(result, ops.constant(np.int64(1))), images.output(0)], 0)
    _replace(embeds, ops.gather(rows, sources, ops.constant(np.int64(0))))
    model.remove_parameter(embeds)
    model.add_parameters([ids, images, sources])
    model.validate_nodes_and_infer_types()


def take_one_position(model: ov.Model) -> None:
    """Let a graph with several positions for each token take one, as in text all are equal.

    Qwen2-VL has three: time, height and width.
    """
    positions = _parameter(model, "position_ids")
    shape = positions.get_partial_shape()
    if shape.rank.get_length() == 1:
        return
    one = ops.parameter([-1], np.int64, name="position_ids")
    one.get_output_tensor(0).set_names({"position_ids"})
    axes = ops.constant(np.array([shape[0].get_length(), 1]))
    _replace(positions, ops.tile(ops.unsqueeze(one, ops.constant(np.int64(0))), axes))
    model.remove_parameter(positions)
    model.add_parameters([one])
    model.validate_nodes_and_infer_types()


def _replace(parameter: ov.Node, by: ov.Node) -> None:
    for port in parameter.output(0).get_target_inputs():
        port.replace_source_output(by.output(0))


def _parameter(model: ov.Model, name: str) -> ov.Node:
    """Raises ModelError if the graph has no such input."""
    for parameter in model.get_parameters():
        if name in parameter.output(0).get_names():
            return parameter
    raise ModelError(f"The language model of this image-text model has no input '{name}', so it cannot be served.")
