"""The start of the server does not import unneeded packages that take a tenth of a second or more each."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

UNNEEDED = (
    "gguf",
    "huggingface_hub",
    "openvino.tools.ovc",
    "crossette.client.bench",
    "crossette.client.chat",
    "crossette.remote.upstream",
)


@pytest.fixture(scope="module")
def modules() -> set[str]:
    """All modules that are imported before the engine is loaded."""
    program = (
        "import sys, crossette.cli.serve, crossette.engines.openvino.engine, crossette.models.pull; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", UNNEEDED)
def test_a_start_does_not_import(modules: set[str], name: str) -> None:
    assert "crossette.engines.openvino.engine" in modules
    assert name not in modules


def test_openvinos_converters_can_be_imported_afterwards() -> None:
    program = "import crossette.engines.openvino.model, openvino.tools.ovc as ovc; print(callable(ovc.convert_model))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True"]
