"""The documentation matches the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from starlette.routing import Route

from crossette.api.app import App
from crossette.api.models import ServedModels
from crossette.api.pages.site import FILES
from crossette.pool.pool import ModelPool
from support import catalogue_page, families_page, paths_page, structures_page
from support.metrics_page import PAGE, page

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
STRUCTURES = (ROOT / "docs/structures.md").read_text()


def test_the_tables_of_files_are_up_to_date() -> None:
    assert structures_page.page(STRUCTURES) == STRUCTURES, "run scripts/docs"


def test_what_a_merge_left_in_a_table_of_files_is_written_anew() -> None:
    line = "| `errors.py` |"
    conflict = f"<<<<<<< HEAD\n{line} mine |\n=======\n{line} theirs |\n| `gone.py` | nothing |\n>>>>>>> topic\n"

    assert structures_page.page(STRUCTURES.replace(line, conflict + line, 1)) == STRUCTURES


def test_every_endpoint_of_a_dialect_and_for_monitoring_is_in_the_readme() -> None:
    paths = {route.path for route in App(ServedModels(ModelPool.of({}))).routes if isinstance(route, Route)}
    named = {path for path in paths if not path.startswith(FILES)}
    shown = {re.sub(r"^(/inference)?(/v1)+", "", path).replace("{name:path}", "{id}") for path in named}

    assert {path for path in shown if f"`{path}`" not in README} == set()


def test_the_page_of_paths_is_up_to_date() -> None:
    assert paths_page.PAGE.read_text(encoding="utf-8") == paths_page.page()


def test_the_page_of_families_is_up_to_date() -> None:
    assert families_page.PAGE.read_text(encoding="utf-8") == families_page.page()


def test_the_page_of_the_catalogue_is_up_to_date() -> None:
    assert catalogue_page.PAGE.read_text(encoding="utf-8") == catalogue_page.page()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_the_packages_that_it_stands_on_are_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    stands_on = [*project["dependencies"], *extras["postgres"], *extras["otel"]]
    names = {re.split(r"[^\w-]", package)[0].removesuffix("-sdk") for package in stands_on}
    table = (ROOT / "docs/structures.md").read_text(encoding="utf-8").partition("## What it stands on")[2]

    assert {name for name in names if name not in table} == {"opentelemetry-exporter-otlp-proto-http"}


def test_files_that_a_text_mentions_exist() -> None:
    folders = ("src", "tests", "docs", "scripts", "benchmarks")
    texts = [*ROOT.glob("*.*"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    texts = [path for path in texts if path.suffix in (".py", ".md", ".toml", ".sh") or path.parent.name == "scripts"]
    missing = {
        f"{text.relative_to(ROOT)}: {named}"
        for text in texts
        for named in _named(text)
        if not (ROOT / named).exists() and not (text.parent / named).exists()
    }
    assert len(texts) > 300
    assert missing == set()


def _named(file: Path) -> list[str]:
    """The project paths that a file mentions, and the targets of its Markdown links."""
    text = file.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) if file.suffix == ".md" else []
    return re.findall(r"(?<![\w/.-])((?:tests|docs|scripts|benchmarks|src)/[\w./-]+\w)", text) + links


def test_the_metrics_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
