"""Downloads models into the store, converted for the engine of this process."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from crossette.models.fetch import Progress
from crossette.models.store import ModelStore, StoredModel, default_root
from crossette.types import ModelFacts


def pull_with_progress(reference: str, progress: Progress) -> StoredModel:
    """Return the stored model of a reference, downloading and converting it if necessary. Raises ModelError."""
    from crossette.models.pull import pull

    return pull(ModelStore(default_root()), reference, _convert, progress, check=_check)


def _check(head: BinaryIO, size: int, name: str) -> int:
    from crossette.engines.openvino.convert import check_head

    return check_head(head, size, name)


def _convert(gguf: Path, folder: Path) -> ModelFacts:
    from crossette.engines.openvino.convert import convert  # its import takes 0.1 s, which only a conversion needs

    return convert(gguf, folder)
