"""From a GGUF file to the OpenVINO graph and tokenizer that the engine loads.

The converter inside openvino_genai is silent about what it does not know, so everything that it would get
wrong is refused here, by name, before it runs.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from gguf.constants import GGMLQuantizationType, LlamaFileType

from crossette.engines.openvino.gguf.head import GgufHead, read_head
from crossette.engines.openvino.gguf.zero_points import correct_zero_points
from crossette.errors import ModelError
from crossette.types import ModelFacts

_ARCHITECTURES = ("llama", "qwen2", "qwen3")
_MATRIX_TYPES = tuple(GGMLQuantizationType[name] for name in ("F16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K"))
"""What openvino_genai 2026.4.1 converts; of others it raises or, worse, dies. Found by trying each."""
_SPLITTERS = ("smollm", "qwen2", "llama-bpe", "default")
"""The rules for splitting text that it has; for any other name it takes "default" and says nothing."""
_CONTROL_TYPES = (3, 4)
"""Control and user-defined tokens: the ones that are spelled in a prompt, not in text."""
_WAY_OUT = (
    "Use an OpenVINO model of the Hugging Face Hub (hf:ORG/REPO, many are under hf:OpenVINO/), or export one"
    " with `optimum-cli export openvino --model MODEL FOLDER` (package optimum-intel)."
)


def convert(gguf: Path, target: Path) -> ModelFacts:
    """Write graph, tokenizer and detokenizer of a GGUF file into `target`. Raises ModelError.

    Nothing is written beside the GGUF file.
    """
    head = read_head(gguf)
    if reason := unsupported(head):
        raise ModelError(f"Can't convert {gguf}: {reason}. {_WAY_OUT}")
    facts = _read_facts(gguf, head)
    with TemporaryDirectory(dir=target, prefix="convert-") as temporary:
        folder = Path(temporary)
        _generate(gguf, _linked(gguf, folder / "model.gguf"))
        correct_zero_points(folder / "openvino_model.xml", gguf, head)
        _lift_prompt_limit(folder / "openvino_tokenizer.xml")
        for file in folder.glob("openvino_*"):
            file.replace(target / file.name)
    if facts.chat_template is not None:
        (target / "chat_template.jinja").write_text(facts.chat_template, encoding="utf-8", newline="")
    return facts


def unsupported(head: GgufHead) -> str | None:
    """Why the file must not be converted, as the end of a sentence."""
    architecture = head.text("general.architecture") or "unknown"
    if architecture not in _ARCHITECTURES:
        return f"its architecture is '{architecture}', and only {', '.join(_ARCHITECTURES)} can be converted"
    if (head.number("split.count") or 1) > 1:
        return "it is one of several parts of a model; join them with `llama-gguf-split --merge`"
    if head.number(f"{architecture}.expert_count"):
        return "it is a mixture of experts"
    return _unsupported_rope(head, architecture) or _unsupported_tokenizer(head) or _unsupported_tensor(head)


def _unsupported_rope(head: GgufHead, architecture: str) -> str | None:
    """The converter ignores scaled positions: the text would be wrong, and the worse the longer it is."""
    scaling = head.text(f"{architecture}.rope.scaling.type")
    if any(tensor.name == "rope_freqs.weight" for tensor in head.tensors):
        scaling = scaling or "llama3"
    return f"its rotary positions are scaled ('{scaling}')" if scaling not in (None, "none") else None


def _unsupported_tokenizer(head: GgufHead) -> str | None:
    model, splitter = head.text("tokenizer.ggml.model"), head.text("tokenizer.ggml.pre") or "default"
    if model != "gpt2":
        return f"its tokenizer is '{model}', and only byte-level BPE ('gpt2') can be converted"
    if splitter not in _SPLITTERS:
        return f"its tokenizer splits text by the rules '{splitter}', and only {', '.join(_SPLITTERS)} are known"
    return None


def _unsupported_tensor(head: GgufHead) -> str | None:
    for tensor in head.tensors:
        if len(tensor.shape) > 1 and tensor.type not in _MATRIX_TYPES:
            known = ", ".join(kind.name for kind in _MATRIX_TYPES)
            return f"its tensor '{tensor.name}' is {tensor.type.name}, and only {known} can be converted"
    return None


def _read_facts(gguf: Path, head: GgufHead) -> ModelFacts:
    architecture = head.text("general.architecture") or "unknown"
    context_length = head.number(f"{architecture}.context_length")
    if not context_length:
        raise ModelError(f"Can't convert {gguf}: its metadata has no {architecture}.context_length. {_WAY_OUT}")
    ends = (head.number(f"tokenizer.ggml.{kind}_token_id") for kind in ("eos", "eot", "eom"))
    return ModelFacts(
        architecture=architecture,
        quantization=_quantization(head),
        context_length=context_length,
        end_token_ids=frozenset(end for end in ends if end is not None),
        add_bos=_add_bos(head),
        chat_template=head.text("tokenizer.chat_template"),
        special_tokens=_special_tokens(head),
        converter=_version(),
    )


def _quantization(head: GgufHead) -> str:
    """The name that the file gives itself, else the type of most of its weights."""
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
    return head.text("tokenizer.ggml.pre") == "llama-bpe"  # as llama.cpp does where the file is silent


def _special_tokens(head: GgufHead) -> dict[int, str]:
    tokens, types = head.list("tokenizer.ggml.tokens"), head.list("tokenizer.ggml.token_type")
    return {
        index: str(token)
        for index, (token, kind) in enumerate(zip(tokens, types, strict=False))
        if kind in _CONTROL_TYPES
    }


def _linked(gguf: Path, link: Path) -> Path:
    """Give the file a second name in our folder, for the converter writes beside what it reads."""
    for make in (os.symlink, os.link, shutil.copyfile):
        try:
            make(gguf.resolve(), link)
            return link
        except OSError as error:  # no right to make symbolic links, another file system
            failure = error
    raise ModelError(f"Can't copy {gguf} to {link.parent}: {failure}.")


def _generate(gguf: Path, link: Path) -> None:
    try:
        _module("openvino_genai").LLMPipeline(str(link), "CPU", enable_save_ov_model=True)
    except Exception as error:  # the library raises whatever C++ threw: RuntimeError, IndexError, MemoryError
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise ModelError(f"Can't convert {gguf}: {_version()} says: {reason}. {_WAY_OUT}") from error


def _lift_prompt_limit(tokenizer_xml: Path) -> None:
    """Encode prompts of any length: the tokenizer that is written drops, in silence, all but 8,192 tokens."""
    openvino = _module("openvino")
    _module("openvino_tokenizers")  # teaches openvino to read a graph of strings
    model = openvino.Core().read_model(tokenizer_xml)
    for node in model.get_ops():
        if node.get_type_name() == "Minimum":
            limit = openvino.op.Constant(np.array(2**31 - 1, dtype=np.int32))
            for port in node.inputs():
                if port.get_source_output().get_node().get_type_name() == "Constant":
                    port.replace_source_output(limit.output(0))
    lifted = tokenizer_xml.with_stem("lifted")
    openvino.save_model(model, lifted, compress_to_fp16=False)
    del model  # its constants are mapped from the file that is replaced now
    for suffix in (".xml", ".bin"):
        lifted.with_suffix(suffix).replace(tokenizer_xml.with_suffix(suffix))


def _version() -> str:
    return f"openvino-genai {_module('openvino_genai').__version__.split('-')[0]}"


def _module(name: str) -> Any:
    """Import a package of OpenVINO: late, for it takes 0.4 s, and untyped, for it has no types."""
    return import_module(name)
