"""The kernels of this process: compiled on first use, and loaded once."""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from openvino.utils.node_factory import NodeFactory

from crossette.engines.openvino.kernels.build import BuildError, NoCompiler, build
from crossette.folders import cache_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kernels:
    """Loaded kernels. They stay in the process, as graphs have nodes of their code."""

    factory: NodeFactory
    """Makes nodes of the operation."""
    key: str
    """Differs wherever the numbers that they compute may differ."""


def load_kernels() -> Kernels | None:
    """The kernels for this CPU; None where they cannot be compiled, with a line in the log that says why."""
    return _loaded(cache_folder() / "kernels")


@cache
def _loaded(folder: Path) -> Kernels | None:
    try:
        return open_kernels(build(folder))
    except NoCompiler as error:
        log.info("Matrices are multiplied by OpenVINO's kernels, not by crossette's faster ones: %s", error)
    except BuildError as error:
        log.warning(
            "Matrices are multiplied by OpenVINO's kernels, as crossette's faster ones are not there: %s", error
        )
    return None


def open_kernels(library: Path) -> Kernels:
    """Load a library. Raises BuildError."""
    factory = NodeFactory()
    try:
        ctypes.CDLL(str(library))  # is never closed: graphs may outlive the factory, also when the process ends
        factory.add_extension(library)
    except (OSError, RuntimeError) as error:
        raise BuildError(f"{library} cannot be loaded: {error}") from error
    return Kernels(factory, library.stem)
