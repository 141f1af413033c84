"""The site of the documentation has every page, and links that hold there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.installed import ROOT
from upkeep import site


def test_the_navigation_has_every_page() -> None:
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    listed = re.findall(r"^ .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(listed) == sorted([*pages, *site.FROM_ROOT.values()])


@pytest.mark.parametrize(
    ("page", "link", "rewritten"),
    [
        ("README.md", "docs/models.md#gguf-files", "models.md#gguf-files"),
        ("README.md", "CHANGELOG.md", "CHANGELOG.md"),
        ("docs/versions.md", "../README.md#keys", "index.md#keys"),
        ("docs/benchmarks/notes.md", "../keys.md", "../keys.md"),
        ("docs/deploy.md", "../compose.yaml", "files/compose.yaml"),
        ("docs/deploy.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("docs/deploy.md", "#systemd", "#systemd"),
    ],
)
def test_a_link_leads_to_its_page(page: str, link: str, rewritten: str) -> None:
    assert site.rewritten(page, f"see [it]({link}).") == f"see [it]({rewritten})."


def test_what_pages_link_to_is_in_the_site(tmp_path: Path) -> None:
    site.write_pages(ROOT, tmp_path / "pages")

    for name in ("index.md", "deploy.md", "grafana.json", "files/deploy/crossette.service"):
        assert (tmp_path / "pages" / name).is_file(), name
