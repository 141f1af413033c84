"""The facts of a GGUF file's metadata: context, end tokens, chat template, sampling."""

from __future__ import annotations

from collections import Counter

from gguf.constants import LlamaFileType

from crossette.engines.openvino.gguf.head import GgufHead
from crossette.engines.openvino.gguf.tokenizer import adds_bos, special_tokens
from crossette.errors import ModelError
from crossette.types import ModelFacts

_ENDS = frozenset(
    {
        *("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<｜end▁of▁sentence｜>"),  # noqa: RUF001
        *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<turn|>", "<EOT>", "_<EOT>", "[EOT]", "[e~["),
        *("<|return|>", "<|call|>", "<end_of_utterance>"),
    }
)
"""Control tokens that end an answer wherever a vocabulary has them. Many files declare one of several only."""
_SAMPLING = {"temperature": "temp", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
"""Defaults of sampling, and the last part of the metadata's key."""


def read_facts(head: GgufHead) -> ModelFacts:
    """Read the facts. Raises ModelError with a reason as the end of a sentence."""
    architecture = head.text("general.architecture") or "unknown"
    context_length = head.number(f"{architecture}.context_length")
    if not context_length:
        raise ModelError(f"its metadata has no {architecture}.context_length")
    return ModelFacts(
        architecture=architecture,
        quantization=_quantization(head),
        context_length=context_length,
        end_token_ids=_end_token_ids(head),
        add_bos=adds_bos(head),
        chat_template=_chat_template(head),
        special_tokens=special_tokens(head),
    )


def sampling_defaults(head: GgufHead) -> dict[str, float]:
    """The sampling parameters that the model's makers recommend; empty if the file has none."""
    found = {name: head.real(f"general.sampling.{key}") for name, key in _SAMPLING.items()}
    return {name: round(value, 6) for name, value in found.items() if value is not None}  # 32-bit numbers


def _end_token_ids(head: GgufHead) -> frozenset[int]:
    declared = (head.number(f"tokenizer.ggml.{kind}_token_id") for kind in ("eos", "eot", "eom"))
    known = {index for index, text in special_tokens(head).items() if text in _ENDS}
    return frozenset(end for end in declared if end is not None) | known


def _chat_template(head: GgufHead) -> str | None:
    """The default template, or the only one of the named templates."""
    if (default := head.text("tokenizer.chat_template")) is not None:
        return default
    names = [str(name) for name in head.list("tokenizer.chat_templates")]
    return head.text(f"tokenizer.chat_template.{names[0]}") if len(names) == 1 else None


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
