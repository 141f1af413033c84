"""Patterns without assertions, and complements of patterns, against a regex engine."""

from __future__ import annotations

import re

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.text.schema.automata import complement
from crossette.text.schema.compiles import fault_of
from crossette.text.schema.ecma_regex import to_rust
from crossette.text.schema.patterns import conjuncts_of
from crossette.text.schema.regex_tree import listed
from support.schema_pairs import ASSERTIONS, PATTERNS

TEXTS = st.text("abcxfo-._ 17Aé\n{},@", max_size=8)


def matches(pattern: str, text: str) -> bool:
    return jsonschema_rs.is_valid({"pattern": pattern}, text)


REGULAR = (
    *("^[-+.]*$", r"\.", r".*\.\.", "a", "^abc$", "(^[^5]*$)|7", "foo", "^(CAN|MEX|USA)$", "", "^$", "^(?:ab|a*c)$"),
    *(
        "admin|root",
        "x$",
        "^a{2,4}$",
        ".*",
        "$",
        "^",
        "a+?b*?",
        "^(a|)$",
        "(?:^a|b)c",
        "a(?:b$|c)",
        r"^\s*$",
        r"[^\W\d]",
    ),
    *("^(?<name>a)b", "(a*)*b", "^(^a)?b", r"\x62\n?", "^.$", "^[^a.]{1,2}$", "(?:a|bc){2}", "^(?:a?b?){3}$"),
)


@given(st.sampled_from(REGULAR), st.booleans(), TEXTS)
def test_a_complement_matches_exactly_the_other_strings(pattern: str, at_start: bool, text: str) -> None:
    try:
        other = complement(pattern, at_start=at_start)
    except ValueError:
        return
    is_match = matches(f"^(?:{pattern})" if at_start else pattern, text)

    assert (other is not None and matches(to_rust(other), text)) == (not is_match)


@pytest.mark.parametrize("pattern", [r"(a)\1", r"\bx", "(?=a)b", r"\p{Lu}", "a{500}", "^(?:[a-z]{1,40}[.]){3}$", "a)"])
def test_a_pattern_without_a_complement_is_an_error(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"complement|part of a regular expression"):
        complement(pattern)


AS_SENT = (
    *(r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", r"^(?=.*[A-Z])(?=.*\d).{4,}$", "^(?!-)[a-z0-9-]+(?<!-)$", "^(?!admin$).*$"),
    *(r"\bfoo\b", r"^\bfoo\b$", r"^a\b", r"^\w+\b$", r"^(?!\s*$).+", "^(?!.*--)[a-z-]+$", "^(?=a)[a-c]{1,5}(?<=c)$"),
    *(
        r"\b",
        r"\b-",
        r"-\b",
        r"a\n\b",
        r"\ba?b",
        r"\x20\b",
        "^(?!a)b|c",
        "(?!a)b",
        "(?=a",
        "^(?!)a",
        r"a(?<!a)",
    ),
    *(r"^(?!\))\)$", r"^(?![)])[)a]$", r"a\\b", "^(?!a)(?!b)(?=[^c]).$", "^((?!foo).)*$", "^(?!a$|b$).?$"),
)


@given(st.sampled_from([*AS_SENT, *ASSERTIONS, *PATTERNS]), TEXTS | st.sampled_from(["foo", "a foo-", "Ab12", "fooé"]))
def test_conjuncts_match_what_the_pattern_matches(pattern: str, text: str) -> None:
    try:
        conjuncts = conjuncts_of(pattern)
    except ValueError:
        return
    if fault_of([{"pattern": one} for one in conjuncts]) or any(re.search(r"\[[^\]]*\[", one) for one in conjuncts):
        return  # the second: classes within classes are Rust's, and not the validator's
    is_match = all(matches(one, text) for one in conjuncts)

    assert not is_match or matches(pattern, text)
    assert is_match or not matches(pattern, text) or not text.isascii() or r"\b" in pattern


@pytest.mark.parametrize(
    ("pattern", "num"),
    [
        ("^a$", 1),
        ("^(?!a)b$", 2),
        ("^(?=a)(?!b)c(?<!d)$", 4),
        ("(?=a)b", 1),
        ("^(?!a)b|c", 1),
        (r"^\(?=a\)$", 1),
    ],
)
def test_only_assertions_at_the_ends_become_conjuncts(pattern: str, num: int) -> None:
    assert len(conjuncts_of(pattern)) == num


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("^[a-c]$", ["a", "b", "c"]),
        ("^(1|3|22)$", ["1", "3", "22"]),
        ("^x-(?:a|b)?$", ["x-", "x-a", "x-b"]),
        ("^a$|^b{2,3}$", ["a", "bb", "bbb"]),
        ("^$", [""]),
        ("^(a|a)$", ["a"]),
        ("a", None),
        ("^a", None),
        ("^a*$", None),
        ("^.$", None),
        ("^[a-z]$", None),
        (r"^\bab$", None),
    ],
)
def test_the_strings_of_a_pattern_are_listed_if_they_are_few(pattern: str, texts: list[str] | None) -> None:
    assert listed(pattern) == texts
    assert all(matches(pattern, text) for text in texts or ())
