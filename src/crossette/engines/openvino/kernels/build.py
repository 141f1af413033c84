"""Compile the kernels for this CPU, once, into a library in the cache folder.

Its name is a hash of all that it depends on, and its last bytes are a hash of the others: so a library of another
version or CPU is not found, and a damaged one is compiled again. Processes that start together each compile a file of
their own, and the last one to finish leaves its in place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import openvino as ov

from crossette.machine import cpu_identity

_SOURCES = Path(__file__).parent / "native"
_MAIN = "extension.cpp"
_COMPILERS = ("g++", "clang++", "c++")
_FLAGS = ("-std=c++20", "-O3", "-march=native", "-ffp-contract=off", "-fno-tree-ter", "-fPIC", "-shared", "-w")
"""The order of operations is that of the source: no sums are reordered, and none are joined with products. Without
`-fno-tree-ter` GCC puts off sums of integers until the end of a loop, and keeps their terms in memory until then."""
_LIBRARIES = ("libopenvino.so.*", "libtbb.so.*")
_LIMIT_S = 300
_DIGEST = hashlib.sha256
_DIGEST_BYTES = 32


class BuildError(Exception):
    """Why there is no library."""


class NoCompiler(BuildError):
    """Nothing is wrong, but this machine cannot compile the kernels."""


def build(folder: Path, flags: Sequence[str] = ()) -> Path:
    """The library for this CPU in `folder`, compiled if it is not there. `flags` are the compiler's, after the usual.

    Raises BuildError.
    """
    flags = (*_FLAGS, *flags)
    path = folder / f"{_key(flags)}.so"
    if not _is_whole(path):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder) as temporary:
                _compile(made := Path(temporary) / path.name, flags)
                made.write_bytes(_sealed(made.read_bytes()))
                made.replace(path)
        except OSError as error:
            raise BuildError(f"{folder} cannot be written: {error}") from error
    return path


def _key(flags: Sequence[str]) -> str:
    cpu = cpu_identity()
    if sys.platform != "linux" or cpu is None or not {"avx2", "fma"} <= set(cpu.split()):
        raise NoCompiler("they need Linux on a CPU with AVX2")
    digest = _DIGEST(f"{ov.get_version()}\0{cpu}\0{' '.join(flags)}".encode())
    for source in sorted(_SOURCES.iterdir()):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _compile(path: Path, flags: Sequence[str]) -> None:
    compiler = os.environ.get("CXX") or next(filter(shutil.which, _COMPILERS), None)
    if compiler is None:
        raise NoCompiler("there is no C++ compiler, such as g++")
    package = Path(ov.__file__).parent
    libraries = [str(found) for name in _LIBRARIES for found in sorted((package / "libs").glob(name))]
    includes = ["-isystem", str(package / "include")]
    command = [*compiler.split(), *flags, *includes, str(_SOURCES / _MAIN), "-o", str(path), *libraries]
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{compiler} does not run: {error}") from error
    if result.returncode != 0:
        raise BuildError(f"{compiler} failed: {_first_error(result.stderr)}")


def _first_error(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else "it says nothing")


def _sealed(library: bytes) -> bytes:
    return library + _DIGEST(library).digest()


def _is_whole(path: Path) -> bool:
    try:
        data = path.read_bytes()
    except OSError:
        return False
    return len(data) > _DIGEST_BYTES and _sealed(data[:-_DIGEST_BYTES]) == data
