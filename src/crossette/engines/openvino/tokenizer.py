"""Text to tokens and back, with openvino_tokenizers behind our Tokenizer protocol.

Two tokenizers are made of one: in the second, the step that finds control tokens in text finds none, so that
`<|im_end|>` in a user's words stays text. The library has no option for that, so the pattern of the step
`SpecialTokensSplit` is overwritten in the constants of the IR. What is needed of the IR is read from its XML:
holding nodes of the tokenizer's extension from Python crashes the interpreter at exit (2026.4.1).
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
import openvino_genai

from crossette.errors import ModelError

_Constant = npt.NDArray[np.uint8] | npt.NDArray[np.int32]

_NEVER = b"(?!)"
"""A pattern that matches nowhere, whatever stands behind it."""


class OpenVINOTokenizer:
    """The tokenizer of a model folder. Safe to call from several threads."""

    def __init__(self, directory: Path, *, add_bos: bool) -> None:
        encoder = _Graph.read(directory / "openvino_tokenizer.xml")
        decoder = _Graph.read(directory / "openvino_detokenizer.xml")
        pattern = encoder.constant_behind("SpecialTokensSplit")
        self._special: re.Pattern[str] | None = None
        self._with_specials = self._without_specials = openvino_genai.Tokenizer(directory)
        if pattern is not None:
            self._special = re.compile(pattern.tobytes().decode())
            _match_nothing(pattern)
            self._without_specials = openvino_genai.Tokenizer(
                encoder.xml, ov.Tensor(encoder.data), decoder.xml, ov.Tensor(decoder.data)
            )
        self._add_bos = add_bos
        self._spellings = _table(self._with_specials.get_vocab())
        control = decoder.constant_behind("VocabDecoder", port=4)
        self._control = frozenset(() if control is None else control.tolist())
        self.encode("warm", specials=True)  # the first call costs 11 ms
        self.encode("warm", specials=False)

    @property
    def vocab_size(self) -> int:
        return len(self._spellings)

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
        return b"" if token_id in self._control else self._spellings[token_id]

    def token_text(self, token_id: int) -> bytes:
        return self._spellings[token_id]


def _table(vocabulary: dict[bytes, int]) -> list[bytes]:
    """Every id's spelling; empty for ids that stand for nothing."""
    table = [b""] * (max(vocabulary.values()) + 1)
    for token, token_id in vocabulary.items():
        table[token_id] = token
    return table


def _match_nothing(pattern: _Constant) -> None:
    """Overwrite a pattern, which is a view of its graph's constants."""
    if pattern.size < len(_NEVER):
        raise ModelError(f"The tokenizer finds control tokens by a pattern of {pattern.size} bytes: not known.")
    pattern[: len(_NEVER)] = np.frombuffer(_NEVER, np.uint8)


@dataclass(frozen=True)
class _Graph:
    """An IR as it lies on disk: layers by id, where their inputs come from, and the bytes of the constants."""

    path: Path
    xml: str
    data: npt.NDArray[np.uint8]
    layers: dict[str, ElementTree.Element]
    sources: dict[tuple[str, int], str]
    """(layer id, position of the input) to the layer id it comes from."""

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
            place = ports.index(edge.attrib["to-port"])
            sources[edge.attrib["to-layer"], place] = edge.attrib["from-layer"]
        data = np.fromfile(path.with_suffix(".bin"), np.uint8)
        return cls(path, xml, data, layers, sources)

    def constant_behind(self, kind: str, port: int = -1) -> _Constant | None:
        """The constant that feeds input `port` (-1: the last) of the first layer of a kind; a view of `data`."""
        for layer_id, layer in self.layers.items():
            if layer.attrib["type"] == kind:
                places = sorted(place for to, place in self.sources if to == layer_id)
                if port >= len(places):
                    return None
                constants = [
                    self._constant(self.layers[found])
                    for found in self._ancestors(self.sources[layer_id, places[port]])
                    if self.layers[found].attrib["type"] == "Const"
                ]
                return constants[0] if constants else None
        return None

    def _ancestors(self, layer_id: str) -> Iterator[str]:
        """The layer and what it is computed from, its first inputs first."""
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
