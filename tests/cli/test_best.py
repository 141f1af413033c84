"""Models by a short name, from a mirror of the Hub to a server: the default one, and `best`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from crossette.cli import console
from crossette.cli import main as cli
from crossette.models import fitting
from crossette.models.catalogue import CATALOGUE, DEFAULT
from crossette.server import downloads
from server.test_serve import LIMIT_S, _address_in_banner
from support.hub_server import HubRepository, LookAlike, hub_server
from support.model_fakes import fake_convert, sha256
from support.tiny_model import write_tiny_gguf

PROGRAM = """
import sys
from crossette.models import catalogue
from crossette.models.catalogue_entry import CatalogueEntry
catalogue.CATALOGUE.clear()
for name, repo, sha256, terms in {entries!r}:
    catalogue.CATALOGUE[name] = CatalogueEntry(
        name=name, description="tiny", hub_repo=repo, hub_file="m.gguf", revision={revision!r}, sha256=sha256,
        size={size}, license="a license", terms=terms, cache_values=256,
    )
from crossette.cli.main import main
main()
"""
"""The command line with another catalogue: a gated repository, and one that needs consent."""


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "m.gguf", layers=1, width=128).read_bytes()


@pytest.fixture
def hub(gguf: bytes) -> Iterator[LookAlike]:
    with hub_server(o__gated=HubRepository({"m.gguf": gguf}, gated=True), o__other={"m.gguf": gguf}) as it:
        yield it


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of the store, which is empty at first."""
    return tmp_path


@contextmanager
def command(hub: LookAlike, home: Path, gguf: bytes, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    entries = [(DEFAULT.name, "o/gated", sha256(gguf), None), ("consent", "o/other", sha256(gguf), "https://terms")]
    program = PROGRAM.format(entries=entries, size=len(gguf), revision=hub.commit)
    environ = os.environ | {"HF_ENDPOINT": hub.hub, "HF_TOKEN": hub.token, "CROSSETTE_HOME": str(home)}
    with (home / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ
        )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)


def served(process: subprocess.Popen[str]) -> list[str]:
    """The names of the models of a server that has just started."""
    assert process.stdout is not None
    root, _ = _address_in_banner(process.stdout)
    return [entry["id"] for entry in httpx.get(f"{root}/v1/models", timeout=LIMIT_S).json()["data"]]


def test_an_empty_store_shows_what_fits_and_serves_the_default(hub: LookAlike, home: Path, gguf: bytes) -> None:
    with command(hub, home, gguf, "serve", "--port", "0") as process:
        assert served(process) == [DEFAULT.name]

    shown = (home / "stderr").read_text()
    assert f"No model is chosen, so {DEFAULT.name} is served. These fit 50% of the memory" in shown
    for name in (DEFAULT.name, "consent"):
        assert f"a license  crossette serve {name}" in shown
    assert f"crossette serve best takes {DEFAULT.name}." in shown
    assert hub.sent["m.gguf"] == len(gguf)
    assert set(hub.headers("hub", "authorization")) == {f"Bearer {hub.token}"}


def test_serve_best_takes_the_largest_that_fits(hub: LookAlike, home: Path, gguf: bytes) -> None:
    with command(hub, home, gguf, "serve", "best", "--port", "0") as process:
        assert served(process) == [DEFAULT.name]

    shown = (home / "stderr").read_text()
    assert f"best is {DEFAULT.name} (" in shown
    assert "a license): the largest that fits this machine." in shown
    assert "These fit" not in shown


@pytest.fixture
def pull(hub: LookAlike, home: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    """`crossette pull` in this process, without the conversion."""
    monkeypatch.setenv("CROSSETTE_HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", hub.token)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.hub)
    monkeypatch.setattr(downloads, "_convert", fake_convert)
    for name, repo, terms in ((DEFAULT.name, "o/gated", None), ("consent", "o/other", "https://terms")):
        entry = replace(DEFAULT, name=name, license="a license", terms=terms, wheel=None)
        entry = replace(entry, hub_repo=repo, hub_file="m.gguf", revision=None, sha256=sha256(gguf))
        monkeypatch.setitem(CATALOGUE, name, entry)
    monkeypatch.setattr(fitting, "total_memory", lambda: 2 << 30)  # for the smallest of the catalogue
    return lambda reference: CliRunner().invoke(cli.app, ["pull", reference])


def test_pull_best_takes_it_too(pull: Callable[[str], Result]) -> None:
    ended = pull("best")

    assert f"{DEFAULT.name} is ready in" in ended.stdout
    assert "Its license is a license." in ended.stdout


def test_a_license_with_terms_is_shown_before_the_download(
    pull: Callable[[str], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    for shown in ("consent is under the a license: https://terms", ""):  # the second time it is in the store
        text = StringIO()
        monkeypatch.setattr(console, "err", Console(file=text))
        assert pull("consent").stdout.startswith("consent is ready in ")
        assert text.getvalue().strip() == shown
