"""The folders that crossette writes to: `$CROSSETTE_HOME`, or by default the platform's cache and data folders."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from platformdirs import PlatformDirs

_DIRS = PlatformDirs("crossette", appauthor=False)


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder for files that can be downloaded or computed again."""
    return _chosen(environ) or _DIRS.user_cache_path


def data_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder for files that cannot be restored, such as the database."""
    folder = _DIRS.user_data_path
    return _chosen(environ) or (folder / "Data" if sys.platform == "win32" else folder)  # beside \Cache


def _chosen(environ: Mapping[str, str]) -> Path | None:
    home = environ.get("CROSSETTE_HOME")
    return Path(home).expanduser().absolute() if home else None
