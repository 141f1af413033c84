"""Score tokens by the head of a graph, without the logits of all tokens of the vocabulary.

Evaluation harnesses ask for the logprob of each token of a prompt. A position's logits are up to a megabyte, so it
takes longer to write and to read them than is left of the head's products.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.utils.node_factory import NodeFactory

from crossette.engines.openvino.kernels.products import PRODUCT

SCORES = "TokenScores"
"""The type of the node."""

TOKEN, BEST, BEST_ID, LOG_SUM = range(4)
"""The columns of scores: the token's logit, the largest one, its id, and the logarithm of the sum of all
`e^(logit - largest)`."""

_SHAPING = ("Reshape", "Squeeze", "Unsqueeze")


def scores_graph(model: ov.Model, factory: NodeFactory) -> ov.Model | None:
    """A graph from hidden states `[positions, width]` and a token for each to scores `[positions, 4]`.

    It has the matrix of `model`'s head. None if the logits are not just the products with a matrix of our own.
    """
    head = model.get_results()[0].input_value(0).get_node()
    while head.get_type_name() in _SHAPING:
        head = head.input_value(0).get_node()
    if head.get_type_name() != PRODUCT or head.get_output_size() != 1:
        return None
    width = head.get_input_partial_shape(0)[-1].get_length()
    states, tokens = ops.parameter([-1, width], np.float32), ops.parameter([-1], np.int32)
    node = factory.create(SCORES, [states.output(0), tokens.output(0), head.output(0)])
    return ov.Model([ops.result(node.output(0))], [states, tokens], "scores")
