"""Messages, help texts and pages use standard terms: those of OpenAI, vLLM, Hugging Face and the RFCs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import crossette

SOURCE = Path(crossette.__file__).parent
ROOT = Path(__file__).parents[1]

INSTEAD = {
    r"thoughts?": "reasoning",
    r"forms? of (the|an|its|their) answers?": "response format",
    r"held to|keeps? to|keeping to": "constrained to, must match",
    r"guesses": "draft tokens",
    r"told|tells|telling": "reported, returned, logged",
    r"hears?|heard": "receives",
    r"lets? (in|out|through)": "admitted, allowed",
    r"gives? way|gave way": "is preempted",
    r"whoever|nobody": "the caller, none",
    r"hangs? up|hung up|hanging up|hang-ups?": "disconnects",
    r"likeliest": "most likely",
    r"drawn": "sampled",
    r"spell(s|ed|ing|ings)?": "text form, encoded",
    r"waist": "engine interface",
    r"affairs?": "concern",
    r"second look": "validation",
}
"""Words that must not be in any text for users, and what to write in their place."""

_ANY = re.compile("|".join(rf"\b(?:{word})\b" for word in INSTEAD), re.IGNORECASE)

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *SOURCE.rglob("*.html")])
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "client/bench/prompts.py")
"""All but the list of English words of which the benchmark makes its prompts."""


def found_in(text: str) -> list[str]:
    return [found[0] for found in _ANY.finditer(text)]


def texts_of(module: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module with its line: messages, help, and what its docstrings say."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_module_uses_the_words_of_the_field(module: Path) -> None:
    assert not [(line, found) for line, text in texts_of(module) for found in found_in(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_uses_the_words_of_the_field(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()

    assert not [(number, found) for number, line in enumerate(lines, 1) for found in found_in(line)]


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=lambda path: path.name)
def test_a_page_has_no_line_of_300_characters(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()

    assert not [number for number, line in enumerate(lines, 1) if len(line) >= 300]


def test_every_decision_has_a_date_and_a_status() -> None:
    lines = (ROOT / "docs/decisions.md").read_text(encoding="utf-8").splitlines()
    headings = [number for number, line in enumerate(lines) if line.startswith("## ")]

    assert headings
    for number in headings:
        status = lines[number + 1] or lines[number + 2]
        assert re.match(r"20\d\d-\d\d-\d\d · (in force|superseded by|to be revisited)", status), lines[number]


def test_the_list_finds_what_it_names() -> None:
    assert found_in("The form of the answer was told, and whoever hangs up is let in.") == [
        "form of the answer",
        "told",
        "whoever",
        "hangs up",
        "let in",
    ]
