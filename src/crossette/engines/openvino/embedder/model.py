"""A compiled embedding model: rows of token ids to the vectors of their tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from crossette.engines.openvino.embedder.bert import BertShape, build_bert
from crossette.engines.openvino.embedder.pooling import Vectors
from crossette.errors import ModelError

_OUTPUTS = ("last_hidden_state", "token_embeddings")
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})


class EncoderModel:
    """A graph of an encoder, or of a decoder without a cache. Not thread-safe: one thread runs it."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        """Build or read the graph of a folder, and compile it. Raises ModelError."""
        compiled = ov.Core().compile_model(
            _graph(folder),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
                "INFERENCE_NUM_THREADS": threads,
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
            },
        )
        self._inputs = [(port.get_any_name(), port.get_element_type(), port) for port in compiled.inputs]
        self._request = compiled.create_infer_request()
        self._output = _output_index(compiled, folder)

    def forward(self, rows: npt.NDArray[np.int64]) -> Vectors:
        """Vectors `[rows, tokens, width]` of token ids `[rows, tokens]`. Valid until the next call."""
        for name, kind, port in self._inputs:
            value = _input(name, rows, len(port.get_partial_shape()))
            self._request.set_tensor(name, ov.Tensor(np.ascontiguousarray(value, kind.to_dtype())))
        self._request.infer()
        hidden: Vectors = self._request.get_output_tensor(self._output).data
        return hidden

    def close(self) -> None:
        """Free the graph now, in this thread, not when the garbage collector runs."""
        del self._request
        self._inputs.clear()


def _graph(folder: Path) -> ov.Model:
    path = folder / "openvino_model.xml"
    if not path.is_file():
        config = json.loads((folder / "config.json").read_bytes())
        return build_bert(folder / "model.safetensors", BertShape.of(config))
    try:
        model = ov.Core().read_model(path)
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot read {path}: {str(error).splitlines()[-1]}") from error
    if unknown := sorted({port.get_any_name() for port in model.inputs} - _INPUTS):
        raise ModelError(f"{path} has the inputs {', '.join(unknown)}, and an embedding model has none of that name.")
    return model


def _output_index(compiled: Any, folder: Path) -> int:
    """The output with the vectors of the tokens: the only one, or by its name."""
    if len(compiled.outputs) == 1:
        return 0
    for index, port in enumerate(compiled.outputs):
        if not port.get_names().isdisjoint(_OUTPUTS):
            return index
    raise ModelError(f"The graph of {folder} has no output {' or '.join(_OUTPUTS)}.")


def _input(name: str, rows: npt.NDArray[np.int64], rank: int) -> npt.NDArray[np.int64]:
    """The value of an input for rows of one length."""
    match name:
        case "input_ids":
            return rows
        case "attention_mask":
            return np.ones_like(rows)
        case "position_ids":
            positions = np.arange(rows.shape[1], dtype=np.int64)
            return positions if rank == 1 else np.tile(positions, (len(rows), 1))
        case _:  # token_type_ids: each text is one segment
            return np.zeros_like(rows)
