"""The tokenizer graphs that an export of a model has, made from the vocabulary of a GGUF file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_tokenizers
from openvino import opset13 as ops
from openvino_tokenizers.tokenizer_pipeline import (
    BPETokenizationStep,
    ByteFallbackStep,
    BytesToCharsStep,
    FuseStep,
    PaddingStep,
    RegexDecodingStep,
    RegexNormalizationStep,
    RegexSplitStep,
    SpecialTokensSplit,
    TokenizerPipeline,
    UTF8ValidateStep,
    VocabDecoderStep,
)
from openvino_tokenizers.utils import change_outputs_type

from crossette.engines.openvino.gguf.head import GgufHead
from crossette.engines.openvino.gguf.splitters import SPLITTERS
from crossette.engines.openvino.gguf.tokenizer import special_tokens, splitter_name, tokenizer_json


def write_graphs(head: GgufHead, folder: Path) -> None:
    """Write openvino_tokenizer and openvino_detokenizer, .xml and .bin, of a byte-level vocabulary."""
    pipeline = _pipeline(head)
    encoder = pipeline.get_tokenizer_ov_subgraph()
    change_outputs_type(encoder, ov.Type.i64)
    tokens = ops.parameter([-1, -1], np.int64)
    decoder = ov.Model(pipeline.create_decoding_pipeline(tokens.outputs()), [tokens], "detokenizer")
    for model, name in ((encoder, "openvino_tokenizer"), (decoder, "openvino_detokenizer")):
        model.set_rt_info(openvino_tokenizers.__version__, "openvino_tokenizers_version")
        for kind in ("bos", "eos"):
            model.set_rt_info(head.number(f"tokenizer.ggml.{kind}_token_id"), f"{kind}_token_id")
        ov.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)


def _pipeline(head: GgufHead) -> TokenizerPipeline:
    is_pieces = head.text("tokenizer.ggml.model") == "llama"
    specials = special_tokens(head)
    pipeline = TokenizerPipeline()
    pipeline.add_steps(SpecialTokensSplit.from_string_iter(specials.values()))
    pipeline.add_steps(_piece_steps(head) if is_pieces else _byte_level_steps(head))
    pipeline.add_steps([PaddingStep(pad_right=False), VocabDecoderStep(skip_tokens=list(specials))])
    pipeline.add_steps([RegexDecodingStep.replace_sp_spaces(), ByteFallbackStep()] if is_pieces else [])
    pipeline.add_steps([FuseStep(), UTF8ValidateStep()])
    return pipeline


def _byte_level_steps(head: GgufHead) -> list[Any]:  # Any: openvino_tokenizers has no types
    splits = [
        RegexSplitStep(pattern, behaviour="isolate", mergeable=False)
        for pattern in SPLITTERS[splitter_name(head)].patterns
    ]
    merges = [str(merge) for merge in head.list("tokenizer.ggml.merges")]
    return [*splits, BytesToCharsStep(), _bpe(head, merges)]


def _piece_steps(head: GgufHead) -> list[Any]:
    merges = json.loads(tokenizer_json(head))["model"]["merges"]
    return [RegexNormalizationStep.replace_spaces_metaspace(), _bpe(head, [(left, right) for left, right in merges])]


def _bpe(head: GgufHead, merges: list[Any]) -> BPETokenizationStep:
    return BPETokenizationStep(
        [str(token) for token in head.list("tokenizer.ggml.tokens")],
        merges,
        byte_fallback=True,
        added_tokens={token: index for index, token in special_tokens(head).items()},
    )
