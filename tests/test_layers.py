"""Import rules between layers. A new dependency between layers is a decision and is added here first."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import crossette

ROOT = Path(crossette.__file__).parent

BASE = {
    "errors",
    "settings",
    "log",
    "machine",
    "timespec",
    "histogram",
    "numerals",
    "urls",
    "certificates",
    "folders",
    "moving_average",
    "compiler_limits",
}
"""Modules that all layers may import, except each other."""

MAY_IMPORT: dict[str, set[str]] = {
    # the base
    "errors": set(),
    "settings": set(),
    "log": set(),
    "machine": {"errors"},
    "timespec": set(),
    "numerals": set(),
    "urls": set(),
    "certificates": set(),
    "histogram": set(),
    "folders": set(),
    "moving_average": set(),
    "compiler_limits": set(),
    "types": {"errors"},
    "accounts": {"types"},
    # the engine interface, and the layers above and below it
    "engine": {"types"},
    "text": {"types"},
    "observability": {"engine", "pool", "remote", "types"},
    "remote": {"pool", "types"},
    "generation": {"engine", "text", "types"},
    "api": {"accounts", "observability", "generation", "pool", "remote", "text", "engine", "types"},
    "engines": {"engine", "types"},
    "testing": {"engines", "engine", "types"},
    "pool": {"engine", "types"},
    "models": {"types"},
    # the commands
    "config": {"types"},
    "client": {"types"},
    # composition
    "server": {
        *("config", "accounts", "api", "engines", "testing", "models", "pool", "text", "engine", "observability"),
        *("remote", "types"),
    },
    "cli": {
        *("server", "config", "accounts", "client", "api", "engines", "testing", "models"),
        *("generation", "engine", "types"),
    },
    "__init__": set(),
    "__main__": {"cli"},
}
"""The top-level modules and packages, and which others their files may import in addition to the base."""

OPENVINO_FILES = {
    *(
        f"engines/openvino/{name}.py"
        for name in (
            "__init__",
            "model",
            "sliding_layers",
            "lengths",
            "length_choices",
            "runner",
            "tokenizer",
            "convert",
            "embeddings",
            "vision",
            "recurrence",
            "adapters/graph",
        )
    ),
    *(f"engines/openvino/gguf/{name}.py" for name in ("weights", "parts", "rotary", "attention", "graph", "tokenizer")),
    *(f"engines/openvino/gguf/{name}.py" for name in ("masks", "experts")),
    "engines/openvino/gguf/rows.py",
    *(
        f"engines/openvino/kernels/{name}.py"
        for name in ("build", "layers", "load", "patterns", "products", "reader", "scores")
    ),
    *(f"engines/openvino/embedder/{name}.py" for name in ("bert", "model")),
}
"""The only files that import the packages of OpenVINO."""

PURE = ("asyncio", "threading", "socket", "httpx", "starlette", "uvicorn", "time")
"""Modules that pure files must not import."""

PURE_FILES = (
    "accounts/token_bucket.py",
    "accounts/limits.py",
    "accounts/standing.py",
    "text/*.py",
    "text/*/*.py",
    "engines/openvino/scheduler.py",
    "engines/openvino/sequence.py",
    "engines/openvino/kv_cache.py",
    "engines/openvino/cache_manager.py",
    "engines/openvino/sliding_windows.py",
    "engines/openvino/states.py",
)

FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def imports(file: str) -> Iterator[str]:
    """All imports of a file, at any level, by full name."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports by a relative name"
            assert node.module is not None
            # `from crossette import config` imports a module, `from crossette.config import fill` a name in a module.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed(layer: str) -> set[str]:
    return MAY_IMPORT[layer] if layer in BASE else MAY_IMPORT[layer] | BASE


def layer_of(file: str) -> str:
    """The top-level module or package that a file belongs to."""
    return file.partition("/")[0].removesuffix(".py")


def own_imports(file: str) -> set[str]:
    """The top-level modules of crossette that a file imports, without its own."""
    names = {name.split(".")[1] for name in imports(file) if name.startswith("crossette.")}
    return {name for name in names if (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file()} - {layer_of(file)}


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_what_its_layer_may(file: str) -> None:
    assert own_imports(file) <= allowed(layer_of(file))


def test_the_table_lists_exactly_the_top_level_modules() -> None:
    assert set(MAY_IMPORT) == {layer_of(file) for file in FILES}


def test_no_two_layers_may_import_each_other() -> None:
    done: set[str] = set()
    while ready := {layer for layer in MAY_IMPORT if layer not in done and allowed(layer) <= done}:
        done |= ready

    assert done == set(MAY_IMPORT)


def test_api_and_engines_do_not_import_each_other() -> None:
    assert "engines" not in MAY_IMPORT["api"]
    assert "api" not in MAY_IMPORT["engines"]


@pytest.mark.parametrize("file", FILES)
def test_only_these_files_import_openvino(file: str) -> None:
    packages = {name.partition(".")[0] for name in imports(file)}

    found = {name for name in packages if name.startswith("openvino")}
    assert not found or file in OPENVINO_FILES


@pytest.mark.parametrize(
    "file", [path.relative_to(ROOT).as_posix() for pattern in PURE_FILES for path in sorted(ROOT.glob(pattern))]
)
def test_a_pure_file_has_no_clock_no_thread_and_no_socket(file: str) -> None:
    assert {name.partition(".")[0] for name in imports(file)}.isdisjoint(PURE)


def test_the_wire_schema_is_independent_of_http() -> None:
    schema = [file for file in FILES if file.startswith("api/schema/")]
    known = {name for file in schema for name in imports(file)}

    assert not [name for name in known if name.startswith(("starlette", "uvicorn", "crossette.api.http"))]
