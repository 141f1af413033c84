"""The data types of a measurement: models, sizes, workloads with their rows in the table, and runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accuracy.files import Measurable
from common import Served
from q8_0 import created, default_gguf, q4_0_gguf, q8_0_gguf
from random_models import SHAPES, random_gguf

from crossette.models.catalogue import DEFAULT

PROMPT_TOKENS = 96
DRAFTING = "llama-server, n-grams"
"""The peer with its n-gram speculative decoding, which is off by default."""

Body = dict[str, Any]  # Any: JSON


@dataclass(frozen=True)
class Model:
    """One GGUF file, and its reference for crossette."""

    name: str
    title: str
    gguf: Callable[[], Path]
    is_default: bool = False

    @property
    def reference(self) -> str:
        """The catalogue's model is the same file, by SHA-256."""
        return DEFAULT.name if self.is_default else str(self.gguf())


def q4_k_m_gguf() -> Path:
    """The default model's weights in Q4_K_M. Rows of 576 are no whole super-blocks: as in llama.cpp, they are Q5_0."""
    return created(f"{DEFAULT.name}-q4_k_m.gguf", Measurable("Q4_K_M", DEFAULT.name).write_to)


def slice_model(matrices: str) -> Model:
    """Four layers and the head of a Llama 3.2 1B, of random weights."""
    shape = replace(next(shape for shape in SHAPES if shape.name == "Llama-3.2-1B").cut(4), matrices=matrices)
    title = f"four layers of a 1B model of random weights, {matrices}"
    return Model(f"1b-{matrices.lower()}", title, lambda: random_gguf(shape))


MODELS = {
    model.name: model
    for model in (
        Model("q4_1", f"`{DEFAULT.name}`, Q4_1", default_gguf, is_default=True),
        Model("q4_0", f"`{DEFAULT.name}`, Q4_0", q4_0_gguf),
        Model("q4_k_m", f"`{DEFAULT.name}`, Q4_K_M", q4_k_m_gguf),
        Model("q8_0", f"`{DEFAULT.name}`, Q8_0", q8_0_gguf),
        *map(slice_model, ("Q4_0", "Q4_1", "Q4_K_M", "Q8_0")),
    )
}


@dataclass(frozen=True)
class Size:
    """The size of each workload; smaller sizes only test the script."""

    output_tokens: int = 256
    requests_per_stream: int = 2
    shared_requests: int = 32
    long_tokens: int = 7500
    """The default model's context length is 8192."""
    running_tokens: int = 6000
    """Output limit of the stream that runs beside the long prompt; it is cancelled when the prompt is answered."""
    front_requests: int = 256


SMALL = Size(
    output_tokens=16, requests_per_stream=1, shared_requests=8, long_tokens=600, running_tokens=6000, front_requests=16
)


class Failed(Exception):
    """A server failed the workload."""


@dataclass(frozen=True)
class Row:
    """A row of the table: a figure of a workload, its description, and its goals by model."""

    figure: str
    text: str
    goals: dict[str, str]
    their_figure: str = ""
    """The peer's figure, if it is another one."""
    peer: str = "llama-server"


@dataclass(frozen=True)
class Workload:
    """A workload: `run` loads a server started for `width` concurrent requests of `context` tokens each."""

    name: str
    run: Callable[[Served, bool, Size, int], tuple[dict[str, float], Body]]
    """Takes the server, whether it is crossette, the size, and a seed. Raises Failed."""
    rows: tuple[Row, ...]
    width: int = 1
    context: int = PROMPT_TOKENS + 256 + 32
    peers: tuple[str, ...] = ("llama-server",)
    flags: tuple[str, ...] = ()
    """Of crossette."""


@dataclass
class Run:
    """One workload on one server in one round."""

    model: str
    workload: str
    server: str
    round: int
    figures: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    details: Body = field(default_factory=dict)
    command: str = ""
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
