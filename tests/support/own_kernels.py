"""The kernels for this CPU, and those that it would have without some of its instructions."""

from __future__ import annotations

from functools import cache

import pytest

from crossette.engines.openvino.kernels.build import NoCompiler, build
from crossette.engines.openvino.kernels.load import Kernels, load_kernels, open_kernels
from crossette.folders import cache_folder

INSTRUCTIONS = {"native": (), "no-vnni": ("-mno-avx512vnni",), "avx2": ("-mno-avx512f", "-mno-avxvnni")}
"""The compiler's flags."""
PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 1}
"""Of a graph with the kernels' nodes."""


@cache
def kernels_with(flags: tuple[str, ...]) -> Kernels:
    try:
        return open_kernels(build(cache_folder() / "kernels", flags))
    except NoCompiler as error:  # any other error fails
        pytest.skip(str(error))


def own_kernels() -> Kernels:
    """Those that an engine has on this machine."""
    kernels_with(())
    kernels = load_kernels()
    assert kernels is not None
    return kernels
