"""The files of the pages: served without a key, confined by their headers, and complete."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from crossette.api.pages.site import BUILT, PAGES
from crossette.errors import Unauthorized
from support.api_server import ApiServer, serving

ROOT = Path(__file__).parents[2]
HTML = {"accept": "text/html"}


class NoKey:
    """An `Authenticator` that refuses all keys."""

    def caller(self, key: str | None) -> None:
        raise Unauthorized("No API key was given.")


def files() -> list[str]:
    return [f"/pages/{path.name}" for path in sorted((BUILT / "pages").iterdir())]


@pytest.mark.parametrize("path", ["/", *PAGES])
def test_a_page_is_the_document_that_loads_the_files(api: ApiServer, path: str) -> None:
    answer = api.get(path, HTML)

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="\./([^"]+)"', answer.text)
    assert named
    for name in named:
        assert api.get(f"/{name}").status_code == 200


@pytest.mark.parametrize("path", [*PAGES, *files()])
def test_no_file_needs_a_key(path: str) -> None:
    with serving(access=NoKey()) as server:  # type: ignore[arg-type]  # it returns no caller
        assert server.get(path).status_code == 200
        assert server.get("/v1/models").status_code == 401


@pytest.mark.parametrize("path", ["/", *PAGES, *files()])
def test_a_file_is_confined_to_its_origin(api: ApiServer, path: str) -> None:
    headers = api.get(path, HTML).headers
    policy = dict(entry.split(" ", 1) for entry in headers["content-security-policy"].split("; "))

    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert not re.search("unsafe|http|\\*", headers["content-security-policy"])
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")


@pytest.mark.parametrize("path", [*PAGES, *files()])
def test_a_file_is_sent_again_only_if_it_has_changed(api: ApiServer, path: str) -> None:
    first = api.get(path)

    again = api.get(path, {"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert api.get(path, {"if-none-match": 'W/"another"'}).content == first.content


def test_a_file_is_compressed_for_clients_that_accept_it(api: ApiServer) -> None:
    plain = api.get("/pages/index.js", {"accept-encoding": "identity"})
    compressed = api.get("/pages/index.js", {"accept-encoding": "gzip"})

    assert "content-encoding" not in plain.headers
    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    assert compressed.content == plain.content


def test_the_files_name_no_other_server() -> None:
    """What looks like an address is a namespace of XML, a link in the documentation of a library, or a placeholder."""
    texts = "".join(path.read_text() for path in (BUILT / "pages").iterdir())

    assert not re.findall(r"(?:src|href|url\()\s*[=:]?\s*[\"'(]?(?:https?:)?//", texts)


def test_an_unknown_file_is_not_found(api: ApiServer) -> None:
    for path in ("/pages/none.js", "/pages/../home.py", "/pages/", "/pages"):
        assert api.get(path).status_code == 404


@pytest.mark.all
def test_the_wheel_has_the_pages_and_needs_no_node(tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, env={"PATH": str(empty), "HOME": str(tmp_path)}, timeout=200)

    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"crossette/api{path.replace('/pages/', '/pages/built/pages/')}" for path in files()} <= names
    assert "crossette/api/pages/built/index.html" in names
