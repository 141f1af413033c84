"""Convert a GGUF file to the OpenVINO graph and tokenizer that the engine loads.

Unsupported features are refused here, by name, before anything is written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import openvino as ov
from gguf.constants import GGML_QUANT_SIZES, LlamaFileType

from crossette import __version__
from crossette.engines.openvino.gguf.blocks import FORMATS
from crossette.engines.openvino.gguf.check import verify
from crossette.engines.openvino.gguf.families import FAMILIES
from crossette.engines.openvino.gguf.graph import write_graph
from crossette.engines.openvino.gguf.head import GgufHead, GgufTensor, read_head
from crossette.engines.openvino.gguf.rotary import unsupported_rotary
from crossette.engines.openvino.gguf.tokenizer import special_tokens, unsupported_tokenizer, write_tokenizer
from crossette.engines.openvino.gguf.weights import PLAIN
from crossette.errors import ModelError
from crossette.types import ModelFacts

_UNKNOWN = {
    "expert_count": "it is a mixture of experts",
    "attention.scale": "its attention has a custom scale",
    "attention.clamp_kqv": "its queries, keys and values are clamped",
    "attention.max_alibi_bias": "it uses ALiBi positions",
    "attn_logit_softcapping": "its attention scores are capped",
    "final_logit_softcapping": "its logits are capped",
    "logit_scale": "its logits are scaled",
    "residual_scale": "its residual stream is scaled",
    "embedding_scale": "its embeddings are scaled",
    "rope.dimension_sections": "its positions have several dimensions",
}
"""Metadata keys, after the architecture's prefix, that change the computation in unsupported ways."""
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
        for file in folder.glob("openvino_*"):
            file.replace(target / file.name)
    if facts.chat_template is not None:
        (target / "chat_template.jinja").write_text(facts.chat_template, encoding="utf-8", newline="")
    return replace(facts, difference=difference)


def _write(gguf: Path, head: GgufHead, folder: Path) -> ModelFacts:
    """Write the files; raise ModelError with a reason as the end of a sentence."""
    if reason := unsupported(head):
        raise ModelError(reason)
    facts = _read_facts(head)
    write_graph(gguf, head, folder)
    write_tokenizer(head, folder)
    return facts


def unsupported(head: GgufHead) -> str | None:
    """The reason why the file cannot be converted, as the end of a sentence; None if it can."""
    architecture = head.text("general.architecture") or "unknown"
    if architecture not in FAMILIES:
        return f"its architecture is '{architecture}', and only {', '.join(FAMILIES)} can be converted"
    if (head.number("split.count") or 1) > 1:
        return "it is one of several parts of a model; join them with `llama-gguf-split --merge`"
    for key, reason in _UNKNOWN.items():
        if head.metadata.get(f"{architecture}.{key}"):
            return f"{reason} ({architecture}.{key})"
    return (
        _unsupported_window(head, architecture)
        or unsupported_rotary(head, architecture)
        or unsupported_tokenizer(head)
        or next(filter(None, map(_unsupported_tensor, head.tensors)), None)
    )


def _unsupported_window(head: GgufHead, architecture: str) -> str | None:
    window = head.number(f"{architecture}.attention.sliding_window")
    if window and window < (head.number(f"{architecture}.context_length") or 0):
        return f"its attention has a sliding window of {window} tokens"
    return None


def _unsupported_tensor(tensor: GgufTensor) -> str | None:
    if tensor.type not in PLAIN and tensor.type not in FORMATS:
        supported = ", ".join(kind.name for kind in (*PLAIN, *FORMATS))
        return f"its tensor '{tensor.name}' is {tensor.type.name}, and only {supported} can be converted"
    if len(tensor.shape) not in (1, 2) or (len(tensor.shape) == 1 and tensor.type not in PLAIN):
        return f"its tensor '{tensor.name}' is {tensor.type.name} of {len(tensor.shape)} dimensions"
    if 0 in tensor.shape:
        return f"its tensor '{tensor.name}' is empty"
    if tensor.shape[0] % GGML_QUANT_SIZES[tensor.type][0]:
        return f"the rows of its tensor '{tensor.name}' are not whole blocks of {tensor.type.name}"
    return None


def _read_facts(head: GgufHead) -> ModelFacts:
    architecture = head.text("general.architecture") or "unknown"
    context_length = head.number(f"{architecture}.context_length")
    if not context_length:
        raise ModelError(f"its metadata has no {architecture}.context_length")
    ends = (head.number(f"tokenizer.ggml.{kind}_token_id") for kind in ("eos", "eot", "eom"))
    return ModelFacts(
        architecture=architecture,
        quantization=_quantization(head),
        context_length=context_length,
        end_token_ids=frozenset(end for end in ends if end is not None),
        add_bos=_add_bos(head),
        chat_template=head.text("tokenizer.chat_template"),
        special_tokens=special_tokens(head),
        converter=f"crossette {__version__}, openvino {ov.__version__.split('-')[0]}",
    )


def _quantization(head: GgufHead) -> str:
    """The file type that the metadata declare, else the type of most of its weights."""
    try:
        name = LlamaFileType(head.number("general.file_type") or -1).name
    except ValueError:
        name = "GUESSED"
    if name == "GUESSED":
        sizes: Counter[str] = Counter()
        for tensor in head.tensors:
            sizes[tensor.type.name] += tensor.size
        return sizes.most_common(1)[0][0]
    return name.removeprefix("MOSTLY_")


def _add_bos(head: GgufHead) -> bool:
    declared = head.metadata.get("tokenizer.ggml.add_bos_token")
    if isinstance(declared, bool):
        return declared
    return head.text("tokenizer.ggml.pre") in ("llama-bpe", "tekken")  # llama.cpp's default
