"""Convert the tokenizer of a GGUF file to two graphs of openvino_tokenizers: encoder and decoder.

Only byte-level BPE is supported. The graphs' vocabulary is in bytes, so they need no step for the byte-to-unicode
mapping of the file.
"""

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

_CONTROL_TYPES = (3, 4)
"""Token types of control and user-defined tokens, which prompts contain by their text form."""
_CACHED_PIECES = 20_000
"""Pieces of text whose tokens the graph caches."""


def special_tokens(head: GgufHead) -> dict[int, str]:
    tokens, types = head.list("tokenizer.ggml.tokens"), head.list("tokenizer.ggml.token_type")
    return {
        index: str(token)
        for index, (token, kind) in enumerate(zip(tokens, types, strict=False))
        if kind in _CONTROL_TYPES
    }


def unsupported_tokenizer(head: GgufHead) -> str | None:
    model, splitter = head.text("tokenizer.ggml.model"), splitter_name(head)
    if model != "gpt2":
        return f"its tokenizer is '{model}', and only byte-level BPE ('gpt2') can be converted"
    if splitter not in SPLITTERS:
        return f"its pre-tokenizer is '{splitter}', and only {', '.join(SPLITTERS)} are supported"
    merges = head.list("tokenizer.ggml.merges")
    if not merges or not all(isinstance(merge, str) and merge.count(" ") == 1 for merge in merges):
        return "its tokenizer has no merges, or some that are not pairs"
    if not special_tokens(head):
        return "its tokenizer has no control tokens, so no output would end"
    return None


def splitter_name(head: GgufHead) -> str:
    return head.text("tokenizer.ggml.pre") or "default"


def write_tokenizer(head: GgufHead, folder: Path) -> None:
    """Write openvino_tokenizer and openvino_detokenizer, .xml and .bin, into `folder`."""
    pipeline = _pipeline(head)
    encoder = pipeline.get_tokenizer_ov_subgraph()
    change_outputs_type(encoder, ov.Type.i64)
    for model, name in ((encoder, "openvino_tokenizer"), (_decoder(pipeline), "openvino_detokenizer")):
        # Without it openvino_genai assumes a graph of an old release, and cannot decode hidden tokens.
        model.set_rt_info(openvino_tokenizers.__version__, "openvino_tokenizers_version")
        for kind, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
            if (token_id := head.number(f"tokenizer.ggml.{key}_token_id")) is not None:
                model.set_rt_info(token_id, f"{kind}_token_id")
        ov.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)


def _decoder(pipeline: TokenizerPipeline) -> ov.Model:
    """The pipeline's decoder with another input type: changing it later would fold the switch for hidden tokens."""
    tokens = ops.parameter([-1, -1], np.int64)
    text = pipeline.create_decoding_pipeline(tokens.outputs())
    return ov.Model(text, [tokens], "detokenizer")


def _pipeline(head: GgufHead) -> TokenizerPipeline:
    tokens = [str(token) for token in head.list("tokenizer.ggml.tokens")]
    specials = special_tokens(head)
    unknown = head.number("tokenizer.ggml.unknown_token_id")
    pipeline = TokenizerPipeline()
    pipeline.add_steps(SpecialTokensSplit.from_string_iter(specials.values()))
    for pattern in SPLITTERS[splitter_name(head)]:
        pipeline.add_steps(RegexSplitStep(pattern, behaviour="isolate", mergeable=False))
    pipeline.add_steps(
        [
            BytesToCharsStep(),
            BPETokenizationStep(
                tokens,
                [str(merge) for merge in head.list("tokenizer.ggml.merges")],
                unk_token=tokens[unknown] if unknown is not None and unknown < len(tokens) else "",
                fuse_unk=True,
                byte_fallback=True,
                cache_capacity=_CACHED_PIECES,
                added_tokens={token: index for index, token in specials.items()},
            ),
            PaddingStep(pad_right=False),
            VocabDecoderStep(skip_tokens=list(specials)),
            FuseStep(),
            UTF8ValidateStep(),
        ]
    )
    return pipeline
