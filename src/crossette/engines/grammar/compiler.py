"""Compile constraints into token masks with llguidance: which tokens may come next, and which are forced.

A compiled grammar is cached; each sequence advances a copy of its matcher. Limits on grammar size and on the work of a
step are llguidance's own: a grammar beyond them is refused when it is compiled, or fails the request that uses it.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import llguidance
import numpy as np
import numpy.typing as npt

from crossette.compiler_limits import LIMITS, on_deep_stack
from crossette.engine import Tokenizer
from crossette.engines.grammar.gbnf import to_lark
from crossette.engines.grammar.json_numbers import NumberEnds, NumberTokens
from crossette.errors import ConstraintFailed, InvalidRequest
from crossette.types import Constraint

_MAX_COMPILED = 256
_SHORT_TEXT = 100
"""Texts up to this many bytes have their tokens cached: encoding dominates the cost of a mask."""
_MAX_PARTS_TRIED = 300
"""Parts of a refused schema that are compiled alone, to locate the part at fault."""

_MAX_RULES = 2000


class GrammarCompiler:
    """Compiles constraints for one tokenizer. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, end_token_ids: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._end_token_ids = sorted(end_token_ids)
        self._prepared: llguidance.LLTokenizer | None = None
        self._numbers: NumberTokens | None = None
        self._compiled: OrderedDict[Constraint, llguidance.LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def matcher(self, constraint: Constraint) -> Matcher:
        """A matcher at the start of the grammar.

        The first call for a grammar compiles it, which may take a second: do not call it in an event loop's thread.
        Raises InvalidRequest, with llguidance's reason, for an invalid or too large grammar.
        """
        with self._lock:
            compiled = self._compiled.get(constraint)
            if compiled is not None:
                self._compiled.move_to_end(constraint)
        if compiled is None:
            compiled = on_deep_stack(lambda: self._compile(constraint))
            with self._lock:
                self._compiled[constraint] = compiled
                if len(self._compiled) > _MAX_COMPILED:
                    self._compiled.popitem(last=False)
        return Matcher(compiled.deep_copy(), self._vocab_size, self._number_ends(constraint))

    def _number_ends(self, constraint: Constraint) -> NumberEnds | None:
        """None for grammars without a JSON schema: a client's own pattern bounds its numbers itself."""
        if self._numbers is None or not (constraint.kind == "json_schema" or "%json" in constraint.source):
            return None
        return NumberEnds(self._numbers)

    def _compile(self, constraint: Constraint) -> llguidance.LLMatcher:
        if not self._end_token_ids:
            raise _refused(constraint, "this model has no end token")
        try:
            grammar = _grammar(constraint)
        except ValueError as error:
            raise _refused(constraint, str(error)) from error
        compiled = self._begin(grammar)
        if compiled.is_error() and constraint.kind == "gbnf":
            # Without terminals, one lexeme per character, it may be within the limits.
            slower = {"lark_grammar": _bounded(to_lark(constraint.source, with_terminals=False))}
            compiled = self._begin(_as_main(slower, constraint.preamble))
        if compiled.is_error():
            raise _refused(constraint, compiled.get_error(), self._culprit(constraint))
        return compiled

    def _begin(self, grammar: str) -> llguidance.LLMatcher:
        """A matcher at the start of its grammar; in error if the grammar or its first step exceeds the limits."""
        compiled = llguidance.LLMatcher(self._tokens(), grammar, log_level=0, limits=LIMITS)
        if compiled.is_error():
            return compiled
        trial = compiled.deep_copy()
        trial.compute_bitmask()  # first: only this call releases the GIL while it works
        trial.consume_tokens(trial.compute_ff_tokens())
        if not trial.is_stopped():
            trial.compute_bitmask()
        return trial if trial.is_error() else compiled

    def _culprit(self, constraint: Constraint) -> tuple[str, str] | None:
        """The innermost part of a schema that is refused by itself, as (path, reason); None for other grammars."""
        if constraint.kind != "json_schema":
            return None
        schema = json.loads(constraint.source)
        around = {key: schema[key] for key in ("$defs", "x-guidance") if key in schema}
        for part in islice(_parts(schema), _MAX_PARTS_TRIED):
            tried = self._begin(_as_main({"json_schema": part | around}))
            if tried.is_error():
                return part["$comment"], tried.get_error()
        return None

    def _tokens(self) -> llguidance.LLTokenizer:
        """The vocabulary as an llguidance tokenizer: 0.1 s of work, done for the first constraint."""
        with self._lock:
            if self._prepared is None:
                vocabulary = _Vocabulary(self._tokenizer, self._vocab_size, self._end_token_ids[0])
                self._numbers = NumberTokens(vocabulary.tokens)
                self._prepared = llguidance.LLTokenizer(
                    llguidance.TokenizerWrapper(vocabulary), eos_token=self._end_token_ids
                )
            return self._prepared


class _Vocabulary:
    """The tokenizer interface that llguidance expects."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_token_id: int) -> None:
        self.eos_token_id = eos_token_id
        self.tokens = [tokenizer.token_text(token) for token in range(vocab_size)]
        # Unused ids have no text either.
        self.special_token_ids = [token for token in range(vocab_size) if not tokenizer.token_bytes(token)]
        self._tokenizer = tokenizer
        self._cached_tokens_of = lru_cache(maxsize=10_000)(self._tokens_of)

    def __call__(self, text: bytes | str) -> list[int]:
        """Called for each forced text of a grammar: the same few texts in all sequences that use it."""
        return self._cached_tokens_of(text) if len(text) <= _SHORT_TEXT else self._tokens_of(text)

    def _tokens_of(self, text: bytes | str) -> list[int]:
        return self._tokenizer.encode(text if isinstance(text, str) else text.decode(), specials=False)


class Matcher:
    """The grammar state of one sequence."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab_size: int, numbers: NumberEnds | None = None) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._numbers = numbers

    @property
    def is_over(self) -> bool:
        """Whether the grammar has matched and allows nothing more."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    @property
    def is_accepting(self) -> bool:
        """Whether the text may end at this position."""
        return bool(self._matcher.is_accepting())

    def allowed(self) -> npt.NDArray[np.bool_]:
        """`[vocabulary]`: which tokens may come next. Raises ConstraintFailed at llguidance's limits."""
        bits = self._matcher.compute_bitmask()
        self._check()
        mask: npt.NDArray[np.bool_] = np.unpackbits(
            np.frombuffer(bits, np.uint8), count=self._vocab_size, bitorder="little"
        ).view(np.bool_)
        return mask if self._numbers is None else self._numbers.narrowed(mask)

    def forced(self) -> Sequence[int]:
        """The tokens that must come next, in the model's own tokenization; empty where there is a choice."""
        tokens = self._matcher.compute_ff_tokens()
        self._check()
        return tokens

    def accept_token(self, token: int) -> None:
        """Advance by one token. Raises ConstraintFailed for a token that is not allowed."""
        self._matcher.consume_token(token)
        self._check()
        if self._numbers is not None:
            self._numbers.accept_token(token)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ConstraintFailed(
                f"The response format could not be enforced: {_reason(self._matcher.get_error())} "
                "Simplify the schema or grammar."
            )


def _grammar(constraint: Constraint) -> str:
    """The grammar in llguidance's JSON. Raises ValueError for a source that cannot be parsed."""
    source = constraint.source
    match constraint.kind:
        case "json_schema":
            main = {"json_schema": json.loads(source)}
        case "regex":
            main = json.loads(llguidance.LLMatcher.grammar_from_regex(source))["grammars"][0]
        case "gbnf":
            main = {"lark_grammar": _bounded(to_lark(source))}
        case "lark":
            main = {"lark_grammar": _bounded(source)}
    return _as_main(main, constraint.preamble)


def _bounded(lark: str) -> str:
    """The grammar, unchanged. Raises ValueError if it may have too many rules, counted as lines with a colon."""
    if sum(":" in line for line in lark.split("\n")) > _MAX_RULES:
        raise ValueError(f"it has more than {_MAX_RULES} rules")
    return lark


def _as_main(main: dict[str, Any], preamble: str = "") -> str:
    first = [{"lark_grammar": f"start: preamble @main\npreamble: {preamble}"}] if preamble else []
    return json.dumps({"grammars": [*first, main | {"name": "main"}]})


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """The subschemas with a `$comment`, which holds their original path; inner ones first."""
    if isinstance(schema, list | dict):
        for inner in schema.values() if isinstance(schema, dict) else schema:
            yield from _parts(inner)
    if isinstance(schema, dict) and isinstance(schema.get("$comment"), str):
        yield schema


_KINDS = {"json_schema": "JSON schema", "regex": "regular expression"}


def _refused(constraint: Constraint, reason: str, culprit: tuple[str, str] | None = None) -> InvalidRequest:
    name = _KINDS.get(constraint.kind, "grammar")
    if culprit is None:
        return InvalidRequest(f"The {name} cannot be enforced: {_reason(reason)}", param=constraint.param)
    path, reason = culprit
    return InvalidRequest(f"The {name} cannot be enforced at '{path}': {_reason(reason)}", param=constraint.param)


def _reason(error: str) -> str:
    """The reason in an llguidance error, as a sentence."""
    if re.search(r"too (?:big|large)", error):
        return "it is too large for the grammar compiler."
    lines = [line.strip() for line in error.splitlines() if line.strip()] or ["no reason is known"]
    reason = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
    return f"{reason[:300].rstrip('.')}."
