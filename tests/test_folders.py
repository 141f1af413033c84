"""The folders of crossette, on the platform of the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossette.folders import cache_folder, data_folder

HOME = "CROSSETTE_HOME"


def test_all_folders_are_below_crossette_home_if_set(tmp_path: Path) -> None:
    environ = {HOME: str(tmp_path)}

    assert (cache_folder(environ), data_folder(environ)) == (tmp_path, tmp_path)


def test_a_tilde_is_expanded() -> None:
    assert cache_folder({HOME: "~/c"}) == Path.home() / "c"


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG folders are Linux's")
def test_on_linux_the_folders_are_those_of_the_xdg_specification(tmp_path: Path) -> None:
    program = "from crossette.folders import *; print(cache_folder(), data_folder())"
    folders = {"HOME": str(tmp_path), "XDG_CACHE_HOME": "", "XDG_DATA_HOME": str(tmp_path / "data"), HOME: ""}
    environ = os.environ | folders
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)

    assert done.stdout.split() == [str(tmp_path / ".cache/crossette"), str(tmp_path / "data/crossette")]
