"""Small SentencePiece vocabularies, and the tokens that the sentencepiece library gives texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crossette.engines.openvino.gguf.head import GgufHead

DATA = Path(__file__).parents[1] / "data" / "sentencepiece.json"

GgufFields = dict[str, Any]
"""Values of `tokenizer.ggml.…`."""


def recorded() -> dict[str, Any]:
    """The texts, and for each kind of vocabulary its fields and the tokens of each text."""
    found: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return found


def head_of(fields: GgufFields) -> GgufHead:
    return GgufHead({f"tokenizer.ggml.{key}": value for key, value in fields.items()}, ())
