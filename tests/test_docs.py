"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.routing import Route

from crossette.api.app import App
from crossette.api.models import ServedModels
from metrics_page import PAGE, page

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
STRUCTURES = (ROOT / "docs/structures.md").read_text()


def test_every_file_has_a_line_in_structures_and_every_line_has_a_file() -> None:
    package = ROOT / "src/crossette"
    files = {str(path.relative_to(package)) for path in package.rglob("*.py") if path.name[:2] != "__"}
    table = STRUCTURES.partition("## Files")[2]

    assert set(re.findall(r"`([\w/]+\.py)`", table)) - {"benchmarks/front.py"} == files


def test_every_endpoint_is_in_the_readme() -> None:
    paths = {route.path for route in App(ServedModels({})).routes if isinstance(route, Route)}
    shown = {re.sub(r"^(/inference)?(/v1)+", "", path).replace("{name:path}", "{id}") for path in paths}

    assert {path for path in shown if f"`{path}`" not in README} == set()


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) < 150
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_page_of_metrics_is_as_scripts_docs_prints_it() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
