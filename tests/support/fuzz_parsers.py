"""Coverage-guided fuzzing of all parsers of external input: bodies, schemas, grammars, outputs.

    PYTHONPATH=tests python -m support.fuzz_parsers -runs=100000 [FOLDER]

A program for atheris, which takes libFuzzer's options and keeps its corpus in FOLDER. It stops at an input that
violates a contract: an undocumented exception, or output that depends on where a text is cut.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import atheris

with atheris.instrument_imports(
    include=["crossette.text", "crossette.engines.grammar.gbnf", "crossette.engines.grammar.gbnf_terminals"]
):
    from crossette.engines.grammar.gbnf import to_lark
    from crossette.errors import InvalidRequest
    from crossette.text.output import OutputParser
    from crossette.text.output_format import json_schema
    from crossette.text.pieces import Piece, joined
    from crossette.text.schema.patterns import conjuncts_of
    from crossette.text.tool_calls.families import FORMATS

import msgspec

from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.completions import CompletionRequest
from support.output_recordings import REASONING

_FORMATS = [None, *FORMATS.values()]
_REASONING = [None, *REASONING.values()]


def body(data: atheris.FuzzedDataProvider) -> None:
    wire = ChatRequest if data.ConsumeBool() else CompletionRequest
    try:
        msgspec.json.decode(data.ConsumeBytes(data.remaining_bytes()), type=wire)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the server responds with 400
        return


def schema(data: atheris.FuzzedDataProvider) -> None:
    try:
        sent = json.loads(data.ConsumeUnicodeNoSurrogates(data.remaining_bytes()))
    except (ValueError, RecursionError):
        return
    _expecting(InvalidRequest, lambda: json_schema(sent, "schema"))


def grammar(data: atheris.FuzzedDataProvider) -> None:
    source = data.ConsumeUnicodeNoSurrogates(data.remaining_bytes())
    _expecting(ValueError, lambda: to_lark(source))


def pattern(data: atheris.FuzzedDataProvider) -> None:
    source = data.ConsumeUnicodeNoSurrogates(data.remaining_bytes())
    _expecting(ValueError, lambda: conjuncts_of(source))


def output(data: atheris.FuzzedDataProvider) -> None:
    """Check that model output cut at one position parses as in one piece."""
    tools, reasoning = data.PickValueInList(_FORMATS), data.PickValueInList(_REASONING)
    is_thinking = reasoning is not None and data.ConsumeBool()
    cut = data.ConsumeIntInRange(0, 60)
    text = data.ConsumeUnicodeNoSurrogates(data.remaining_bytes())

    def read(*parts: str) -> list[Piece]:
        parser = OutputParser(reasoning, tools, is_thinking=is_thinking)
        return joined([piece for part in parts for piece in parser.push(part)] + parser.flush())

    expected = read(text)
    if read(text[:cut], text[cut:]) != expected:
        raise AssertionError(f"{text!r} cut at {cut} is parsed differently")


def _expecting(error: type[Exception], call: Callable[[], Any]) -> None:
    try:
        call()
    except error:
        return


_TARGETS = [body, schema, grammar, pattern, output]


def one(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    provider.PickValueInList(_TARGETS)(provider)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
