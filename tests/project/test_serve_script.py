"""`scripts/serve` in a clone serves the pages, on a machine that has no Node.js."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import httpx
import pytest

from support.installed import LIMIT_S, ROOT, assert_answers, run, served, share_packages
from upkeep.mutate import copy

pytestmark = pytest.mark.all

NODE = ("node", "nodejs", "npm", "npx", "corepack")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with all programs but those of Node.js."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            link = folder / program.name
            if program.name not in NODE and not link.is_symlink():
                link.symlink_to(program)
    assert not any(shutil.which(name, path=str(folder)) for name in NODE)
    return str(folder)


def test_a_clone_serves_the_pages_without_node(path: str, gguf: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    copy(ROOT, clone)
    environ = {"PATH": path, "CROSSETTE_HOME": str(tmp_path / "home")}
    run([sys.executable, "-m", "venv", ".venv"], clone, **environ)
    share_packages(clone / ".venv")  # or the script would download all of them
    run(["bash", "-c", "source scripts/venv.sh && ensure_venv ''"], clone, **environ)  # as it does, with a limit

    with served(["scripts/serve", str(gguf)], clone, **environ) as server:
        assert_answers(server)
        with httpx.Client(base_url=server.root, timeout=LIMIT_S) as client:
            built = clone / "src/crossette/api/pages/built"
            assert client.get("/playground").text == (built / "index.html").read_text()
            for file in (built / "pages").iterdir():
                assert client.get(f"/pages/{file.name}").content == file.read_bytes()
