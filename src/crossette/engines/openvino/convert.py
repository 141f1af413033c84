"""Convert a GGUF file to the OpenVINO graph and tokenizer that the engine loads.

Unsupported features are refused here, by name, before anything is written.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import msgspec
import openvino as ov
from gguf.constants import GGML_QUANT_SIZES

from crossette import __version__
from crossette.engines.openvino.gguf.blocks import FORMATS
from crossette.engines.openvino.gguf.check import verify
from crossette.engines.openvino.gguf.facts import read_facts, sampling_defaults
from crossette.engines.openvino.gguf.families import FAMILIES
from crossette.engines.openvino.gguf.graph import write_graph
from crossette.engines.openvino.gguf.head import GgufHead, GgufTensor, read_head, read_head_from
from crossette.engines.openvino.gguf.layers import declared_window
from crossette.engines.openvino.gguf.rotary import unsupported_rotary
from crossette.engines.openvino.gguf.tokenizer import unsupported_tokenizer, write_tokenizer
from crossette.engines.openvino.gguf.weights import PLAIN
from crossette.errors import ModelError
from crossette.types import ModelFacts

_UNKNOWN = {
    "expert_count": "it is a mixture of experts",
    "expert_used_count": "it is a mixture of experts",
    "expert_shared_count": "its experts share some",
    "expert_group_count": "its experts form groups",
    "leading_dense_block_count": "its first layers have no experts",
    "interleave_moe_layer_step": "only some of its layers have experts",
    "nextn_predict_layers": "it has layers that predict several tokens",
    "attention.scale": "its attention has a custom scale",
    "attention.temperature_scale": "its queries are scaled by position",
    "attention.clamp_kqv": "its queries, keys and values are clamped",
    "attention.max_alibi_bias": "it uses ALiBi positions",
    "attention.chunk_size": "its attention sees only the chunk that a token is in",
    "attention.kv_lora_rank": "its keys and values are compressed",
    "attention.value_residual": "its values have a residual",
    "attn_logit_softcapping": "its attention scores are capped",
    "final_logit_softcapping": "its logits are capped",
    "logit_scale": "its logits are scaled",
    "residual_scale": "its residual stream is scaled",
    "embedding_scale": "its embeddings are scaled",
    "rope.dimension_sections": "its positions have several dimensions",
    "use_parallel_residual": "its attention and MLP are parallel",
    "deepstack_mapping": "its layers take in images",
}
"""Metadata keys, after the architecture's prefix, that change the computation in unsupported ways, unless the family
declares them (families.py)."""
_ONLY: dict[str, tuple[float, ...]] = {
    "expert_gating_func": (0, 1),  # none declared, softmax
    "expert_weights_scale": (0, 1),
    "attention.causal": (True,),
}
"""Metadata keys of which only these values are supported."""
_EXPERTS_SUFFIX = "_exps.weight"
_WAY_OUT = (
    "Use an OpenVINO model of the Hugging Face Hub (hf:ORG/REPO, many are under hf:OpenVINO/), or export one"
    " with `optimum-cli export openvino --model MODEL FOLDER` (package optimum-intel; some families need an older"
    ' transformers, such as "transformers<5", docs/families.md).'
)


def convert(gguf: Path, target: Path) -> ModelFacts:
    """Write graph, tokenizer and detokenizer of a GGUF file into `target`. Raises ModelError.

    Nothing is written next to the GGUF file.
    """
    head = read_head(gguf)
    with TemporaryDirectory(dir=target, prefix="convert-") as temporary:
        folder = Path(temporary)
        try:
            facts = _write(gguf, head, folder)
        except ModelError as error:
            raise ModelError(f"Can't convert {gguf}: {error}. {_WAY_OUT}") from error
        except OSError as error:
            raise ModelError(f"Can't convert {gguf} in {target}: {error.strerror or error}.") from error
        difference = verify(gguf, head, folder, add_bos=facts.add_bos)
        for file in (*folder.glob("openvino_*"), *folder.glob("*.json")):
            file.replace(target / file.name)
    if facts.chat_template is not None:
        (target / "chat_template.jinja").write_text(facts.chat_template, encoding="utf-8", newline="")
    return replace(facts, difference=difference)


def check_head(file: BinaryIO, size: int, name: str) -> int:
    """Check the file of `size` bytes that begins like the stream. Returns the bytes of the converted weights.

    Raises ModelError, with the name, if it cannot be converted. Reads no weights.
    """
    head = read_head_from(file, size, name)
    if reason := unsupported(head):
        raise ModelError(f"Can't convert {name}: {reason}. {_WAY_OUT}")
    return sum(_converted_size(tensor) for tensor in head.tensors)


def _converted_size(tensor: GgufTensor) -> int:
    """The bytes of a tensor's integers, and of the scale and the zero point of each group in 32 bits."""
    layout = FORMATS.get(tensor.type)
    if layout is None:
        return tensor.size
    numbers = 32 * (1 + (layout.minima is not None))
    return prod(tensor.shape) * (layout.bits * layout.group + numbers) // (8 * layout.group)


def _write(gguf: Path, head: GgufHead, folder: Path) -> ModelFacts:
    """Write the files; raise ModelError with a reason as the end of a sentence."""
    if reason := unsupported(head):
        raise ModelError(reason)
    converter = f"crossette {__version__}, openvino {ov.__version__.split('-')[0]}"
    facts = replace(read_facts(head), converter=converter)
    write_graph(gguf, head, folder)
    write_tokenizer(head, folder)
    if sampling := sampling_defaults(head):
        (folder / "generation_config.json").write_bytes(msgspec.json.encode(sampling))
    return facts


def unsupported(head: GgufHead) -> str | None:
    """The reason why the file cannot be converted, as the end of a sentence; None if it can."""
    architecture = head.text("general.architecture") or "unknown"
    if architecture not in FAMILIES:
        return f"its architecture is '{architecture}', and only {', '.join(FAMILIES)} can be converted"
    if (head.number("split.count") or 1) > 1:
        return "it is one of several parts of a model; join them with `llama-gguf-split --merge`"
    for key, reason in _UNKNOWN.items():
        if key not in FAMILIES[architecture].keys and head.metadata.get(f"{architecture}.{key}"):
            return f"{reason} ({architecture}.{key})"
    for key, values in _ONLY.items():
        if (value := head.metadata.get(f"{architecture}.{key}")) is not None and value not in values:
            return f"its {architecture}.{key} is {value}"
    if architecture.startswith("granite") and head.metadata.get(f"{architecture}.rope.scaling.finetuned") is False:
        return "its attention has no positions"
    return (
        _unsupported_window(head, architecture)
        or unsupported_rotary(head, architecture)
        or unsupported_tokenizer(head)
        or next(filter(None, map(_unsupported_tensor, head.tensors)), None)
    )


def _unsupported_window(head: GgufHead, architecture: str) -> str | None:
    family = FAMILIES[architecture]
    window = declared_window(head, architecture, family)
    if window and family.window_period is None:
        return f"its attention has a sliding window of {window} tokens"
    return None


def _unsupported_tensor(tensor: GgufTensor) -> str | None:
    if tensor.type not in PLAIN and tensor.type not in FORMATS:
        supported = ", ".join(kind.name for kind in (*PLAIN, *FORMATS))
        return f"its tensor '{tensor.name}' is {tensor.type.name}, and only {supported} can be converted"
    dimensions = (3,) if tensor.name.endswith(_EXPERTS_SUFFIX) else (1, 2)
    if len(tensor.shape) not in dimensions or (len(tensor.shape) == 1 and tensor.type not in PLAIN):
        return f"its tensor '{tensor.name}' is {tensor.type.name} of {len(tensor.shape)} dimensions"
    if 0 in tensor.shape:
        return f"its tensor '{tensor.name}' is empty"
    if tensor.shape[0] % GGML_QUANT_SIZES[tensor.type][0]:
        return f"the rows of its tensor '{tensor.name}' are not whole blocks of {tensor.type.name}"
    return None
