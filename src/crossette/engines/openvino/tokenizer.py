"""The `Tokenizer` protocol on openvino_tokenizers, for exported models; converted ones have tokenizer.json.

Two tokenizers are loaded from one IR: in the second, the step that splits off control tokens matches nothing, so that
`<|im_end|>` in a user's message stays text. The library has no option for that, so the pattern of the step
`SpecialTokensSplit` is overwritten in the constants of the IR. The IR is parsed from its XML: holding nodes of the
tokenizer extension in Python crashes the interpreter at exit (2026.4.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import openvino as ov

from crossette.engines.hf_tokenizer import TOKENIZER_FILE, HFTokenizer, piece_bytes
from crossette.errors import ModelError

_Constant = npt.NDArray[np.uint8] | npt.NDArray[np.int32]

_NEVER = b"(?!)"
"""A regex that never matches, whatever follows it."""


def load_tokenizer(directory: Path, *, add_bos: bool) -> ModelTokenizer:
    """The tokenizer of a model folder: its graphs, or tokenizer.json alone. Raises ModelError."""
    has_graphs = any((directory / f"openvino_{name}.xml").is_file() for name in ("tokenizer", "detokenizer"))
    if not has_graphs and (directory / TOKENIZER_FILE).is_file():
        return HFTokenizer(directory, add_bos=add_bos)
    return OpenVINOTokenizer(directory, add_bos=add_bos)


class OpenVINOTokenizer:
    """The tokenizer of a model folder. Thread-safe."""

    def __init__(self, directory: Path, *, add_bos: bool) -> None:
        import openvino_genai  # 70 ms of a start, which models with a tokenizer.json do not need

        encoder = _Graph.read(directory / "openvino_tokenizer.xml")
        decoder = _Graph.read(directory / "openvino_detokenizer.xml")
        pattern = encoder.constant_input("SpecialTokensSplit")
        self._special: re.Pattern[str] | None = None
        self._with_specials = self._without_specials = openvino_genai.Tokenizer(directory)
        if pattern is not None:
            self._special = re.compile(pattern.tobytes().decode())
            _match_nothing(pattern)
            self._without_specials = openvino_genai.Tokenizer(
                encoder.xml, ov.Tensor(encoder.data), decoder.xml, ov.Tensor(decoder.data)
            )
        self._add_bos = add_bos
        self._texts = _table(self._with_specials.get_vocab())
        control = decoder.constant_input("VocabDecoder", port=4)
        self._control = frozenset(() if control is None else control.tolist())
        if decoder.has("ByteFallback") or decoder.replaces_spaces():
            self._texts = [
                text if token in self._control else piece_bytes(text.decode(errors="replace"))
                for token, text in enumerate(self._texts)
            ]
        self.encode("warm", specials=True)  # the first call costs 11 ms
        self.encode("warm", specials=False)

    @property
    def vocab_size(self) -> int:
        return len(self._texts)

    @property
    def bos_token_id(self) -> int | None:
        return int(self._with_specials.get_bos_token_id()) if self._add_bos else None

    @property
    def bos_token(self) -> str:
        return str(self._with_specials.get_bos_token())

    @property
    def eos_token(self) -> str:
        return str(self._with_specials.get_eos_token())

    def encode(self, text: str, *, specials: bool) -> list[int]:
        tokenizer = self._with_specials if specials else self._without_specials
        ids = tokenizer.encode(text, add_special_tokens=False).input_ids.data
        tokens: list[int] = ids[0].tolist()
        return tokens

    def has_specials(self, text: str) -> bool:
        return self._special is not None and self._special.search(text) is not None

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id in self._control else self._texts[token_id]

    def token_text(self, token_id: int) -> bytes:
        return self._texts[token_id]


ModelTokenizer = OpenVINOTokenizer | HFTokenizer


def _table(vocabulary: dict[bytes, int]) -> list[bytes]:
    """The bytes of every id's text form; empty for unused ids."""
    table = [b""] * (max(vocabulary.values()) + 1)
    for token, token_id in vocabulary.items():
        table[token_id] = token
    return table


def _match_nothing(pattern: _Constant) -> None:
    """Overwrite a regex, given as a view of the graph's constants, with one that never matches."""
    if pattern.size < len(_NEVER):
        raise ModelError(f"The tokenizer's pattern for control tokens has {pattern.size} bytes: not supported.")
    pattern[: len(_NEVER)] = np.frombuffer(_NEVER, np.uint8)


@dataclass(frozen=True)
class _Graph:
    """An IR on disk: layers by id, the edges between them, and the bytes of the constants."""

    path: Path
    xml: str
    data: npt.NDArray[np.uint8]
    layers: dict[str, ElementTree.Element]
    sources: dict[tuple[str, int], str]
    """(layer id, input index) to the id of the layer that feeds it."""

    @classmethod
    def read(cls, path: Path) -> _Graph:
        if not path.is_file():
            raise ModelError(
                f"{path.parent} has no {path.name}. Export the model with its tokenizer: "
                "optimum-cli export openvino --model ORG/NAME FOLDER"
            )
        xml = path.read_text(encoding="utf-8")
        root = ElementTree.fromstring(xml)
        layers = {layer.attrib["id"]: layer for layer in root.iter("layer")}
        sources = {}
        for edge in root.iter("edge"):
            target = layers[edge.attrib["to-layer"]]
            ports = [port.attrib["id"] for port in target.iterfind("input/port")]
            index = ports.index(edge.attrib["to-port"])
            sources[edge.attrib["to-layer"], index] = edge.attrib["from-layer"]
        data = np.fromfile(path.with_suffix(".bin"), np.uint8)
        return cls(path, xml, data, layers, sources)

    def has(self, kind: str) -> bool:
        """Whether there is a layer of a type."""
        return any(layer.attrib["type"] == kind for layer in self.layers.values())

    def replaces_spaces(self) -> bool:
        """Whether a decoder turns the spaces of SentencePiece, `▁`, into spaces."""
        pattern = self.constant_input("RegexNormalization", port=3)
        return pattern is not None and pattern.tobytes() == "▁".encode()

    def constant_input(self, kind: str, port: int = -1) -> _Constant | None:
        """The constant that feeds input `port` (-1: the last) of the first layer of a type, as a view of `data`."""
        for layer_id, layer in self.layers.items():
            if layer.attrib["type"] == kind:
                inputs = sorted(index for to, index in self.sources if to == layer_id)
                if port >= len(inputs):
                    return None
                constants = [
                    self._constant(self.layers[found])
                    for found in self._ancestors(self.sources[layer_id, inputs[port]])
                    if self.layers[found].attrib["type"] == "Const"
                ]
                return constants[0] if constants else None
        return None

    def _ancestors(self, layer_id: str) -> Iterator[str]:
        """The layer and its ancestors, in depth-first order of its inputs."""
        yield layer_id
        for (to, _), source in sorted(self.sources.items()):
            if to == layer_id:
                yield from self._ancestors(source)

    def _constant(self, layer: ElementTree.Element) -> _Constant:
        data = layer.find("data")
        if data is None:
            raise ModelError(f"{self.path} has a constant without data: the file is damaged.")
        start, size = int(data.attrib["offset"]), int(data.attrib["size"])
        view = self.data[start : start + size]
        return view.view(np.int32) if data.attrib["element_type"] == "i32" else view
