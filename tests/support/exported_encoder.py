"""An encoder as OpenVINO's own files, with the inputs and outputs of an export for feature extraction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.embedder.bert import BertShape, build_bert


def write_exported(folder: Path, output: str, mask: str = "attention_mask") -> None:
    """Write the graph of a folder of safetensors, with a mask and token types that have no effect, and two outputs."""
    built = build_bert(folder / "model.safetensors", BertShape.of(json.loads((folder / "config.json").read_text())))
    ids, positions = built.get_parameters()
    hidden = built.get_results()[0].input_value(0)
    others = []
    for name in (mask, "token_type_ids"):
        parameter = ops.parameter([-1, -1], np.int64, name=name)
        parameter.output(0).get_tensor().set_names({name})
        others.append(parameter)
    ones, zeros = (ops.unsqueeze(ops.convert(other, "f32"), ops.constant(np.int64(2))) for other in others)
    masked = ops.add(ops.multiply(hidden, ones), zeros)
    masked.output(0).get_tensor().set_names({output})
    sentence = ops.reduce_mean(masked, ops.constant(np.int64(1)))
    sentence.output(0).get_tensor().set_names({"sentence_embedding"})
    ov.save_model(ov.Model([sentence, masked], [ids, positions, *others]), folder / "openvino_model.xml", False)
