"""The default model's GGUF file, fetched as users fetch it and kept between runs."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from crossette.models.catalogue import DEFAULT
from crossette.models.fetch import sha256_of
from crossette.models.pull import silent
from crossette.models.sources import Sources
from crossette.models.store import home


@pytest.fixture(scope="session")
def default_gguf() -> Path:
    cache = home() / "test-cache"
    file = cache / DEFAULT.hub_file
    if file.is_file() and sha256_of(file) == DEFAULT.sha256:
        return file
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache) as temporary:
        return Sources().catalogue(DEFAULT, Path(temporary), silent).path.replace(file)
