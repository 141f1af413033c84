"""Replace all layers of a decoder in a paged graph by one node of crossette's own operation, if it can compute them.

A node of a graph costs up to 60 µs each time that it runs, and its threads have to be woken. This one has one team of
threads for a whole step. Caches of all layers are side by side, so that a block is copied at once.

The forms that are recognised are those that the converter writes (gguf/): RMS norms, products with quantised matrices
and their biases, adapters, rotary positions, attention to all tokens or to a window, gated feed-forward networks, and
factors. A graph with anything else between its embeddings and its head stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import openvino as ov
from openvino.utils.node_factory import NodeFactory

from crossette.engines.openvino.kernels.patterns import Unknown
from crossette.engines.openvino.kernels.program import Output
from crossette.engines.openvino.kernels.reader import (
    BEGINS,
    BLOCK_BEGINS,
    KEY_CACHE,
    PAST,
    VALUE_CACHE,
    LayersReader,
)

LAYERS = "DecoderLayers"
"""The type of the node."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What became part of the node."""

    num_products: int
    num_layers: Mapping[str, int]
    """How many layers a cache has, by its name."""


def replace_layers(model: ov.Model, rows: Output, windows: Mapping[str, int], factory: NodeFactory) -> Layers | None:
    """Let one node compute `rows`, the hidden states of which the head takes some.

    `windows` are the sliding windows of attention nodes, in tokens, by name; 0 for none. `factory` knows the operation.
    Modifies `model`; None, and no change, if the layers have other forms.
    """
    try:
        reader = LayersReader(model, rows, windows)
        result = reader.value(rows)
        reader.put_first(rows)
    except Unknown:
        return None
    caches = reader.caches
    parameters = [cache.parameter() for cache in caches]
    sizes = [reader.attentions[0].input_value(port) for port in (PAST, BEGINS, BLOCK_BEGINS)]
    tables = [cache.tables for cache in caches]
    own = [*reader.program.inputs.values(), *sizes, *tables, *(parameter.output(0) for parameter in parameters)]
    numbers, constants = reader.program.encode(result, len(caches), len(own))
    old = [node.input_value(port).get_node() for node in reader.attentions for port in (KEY_CACHE, VALUE_CACHE)]
    users = rows.get_target_inputs()
    node = factory.create(LAYERS, [*own, *constants], {"program": numbers})
    for user in users:
        user.replace_source_output(node.output(0))
    for parameter in old:
        model.remove_parameter(parameter)
    model.add_parameters(parameters)
    model.validate_nodes_and_infer_types()
    return Layers(reader.num_products, {cache.name: cache.num_layers for cache in caches})
