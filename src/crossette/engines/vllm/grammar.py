"""Constraints as Lark text, the one notation in which a vLLM server accepts all of them."""

from __future__ import annotations

import json
from functools import lru_cache

import llguidance

from crossette.engines.grammar.gbnf import to_lark
from crossette.types import Constraint

_HEAD = "%llguidance {}\n"
"""Without it, vLLM converts what does not look like Lark from GBNF."""


@lru_cache(maxsize=256)
def to_lark_text(constraint: Constraint) -> str:
    """The constraint, with its preamble, as one Lark grammar.

    Grammars are nested, so that their rules cannot have the names of others. The constraint must have been compiled
    by `GrammarCompiler` before: only valid grammars can be nested. Raises ValueError for invalid GBNF.
    """
    match constraint.kind:
        case "json_schema":
            main = f"%json {constraint.source}"
        case "regex":
            main = _nested(_regex(constraint.source))
        case "gbnf":
            main = _nested(to_lark(constraint.source))
        case "lark":
            main = _nested(constraint.source)
    if not constraint.preamble:
        return f"{_HEAD}start: main\nmain: {main}\n"
    return f"{_HEAD}start: preamble main\npreamble: {constraint.preamble}\nmain: {main}\n"


def _regex(source: str) -> str:
    lark: str = json.loads(llguidance.LLMatcher.grammar_from_regex(source))["grammars"][0]["lark_grammar"]
    return lark


def _nested(lark: str) -> str:
    return f"%lark {{\n{lark}\n}}"
