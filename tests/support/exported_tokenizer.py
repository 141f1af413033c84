"""The tokenizer graphs that an export of a model has, made from the vocabulary of a GGUF file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import openvino_tokenizers
from openvino import opset13 as ops
from openvino_tokenizers.tokenizer_pipeline import (
    BPETokenizationStep,
    BytesToCharsStep,
    FuseStep,
    PaddingStep,
    RegexSplitStep,
    SpecialTokensSplit,
    TokenizerPipeline,
    UTF8ValidateStep,
    VocabDecoderStep,
)
from openvino_tokenizers.utils import change_outputs_type

from crossette.engines.openvino.gguf.head import GgufHead
from crossette.engines.openvino.gguf.splitters import SPLITTERS
from crossette.engines.openvino.gguf.tokenizer import special_tokens, splitter_name


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
    specials = special_tokens(head)
    pipeline = TokenizerPipeline()
    pipeline.add_steps(SpecialTokensSplit.from_string_iter(specials.values()))
    for pattern in SPLITTERS[splitter_name(head)].patterns:
        pipeline.add_steps(RegexSplitStep(pattern, behaviour="isolate", mergeable=False))
    pipeline.add_steps(
        [
            BytesToCharsStep(),
            BPETokenizationStep(
                [str(token) for token in head.list("tokenizer.ggml.tokens")],
                [str(merge) for merge in head.list("tokenizer.ggml.merges")],
                byte_fallback=True,
                added_tokens={token: index for index, token in specials.items()},
            ),
            PaddingStep(pad_right=False),
            VocabDecoderStep(skip_tokens=list(specials)),
            FuseStep(),
            UTF8ValidateStep(),
        ]
    )
    return pipeline
