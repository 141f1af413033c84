"""A cache of load-time measurements on disk, keyed by everything that a result depends on.

The file name is a hash of the CPU, OpenVINO and the graph, the environment variables that configure them, the source
code of this package, and a key of the measurement itself. So a cached result equals what measuring again would give,
entries never need invalidation, and a result that cannot be read or written is measured at each start.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from crossette.machine import cpu_identity

log = logging.getLogger(__name__)

_KERNEL_VARIABLES = ("OV_", "OPENVINO_", "ONEDNN_", "DNNL_", "TBB_")
"""Prefixes of environment variables that affect which kernels OpenVINO and its libraries choose."""


class CalibrationCache:
    """Measurement results in `folder` for one compiled graph, given by its fingerprint, on this machine."""

    def __init__(self, folder: Path, fingerprint: str, *, environ: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        cpu = cpu_identity()
        variables = sorted(f"{name}={value}" for name, value in environ.items() if name.startswith(_KERNEL_VARIABLES))
        self._common_key = None if cpu is None else "\0".join([cpu, fingerprint, _code(), *variables]).encode()
        """None if the CPU cannot be identified: then nothing is cached."""

    def read(self, key: bytes) -> bytes | None:
        """The result that was written for the same key; None if there is none."""
        path = self._path(key)
        try:
            return path.read_bytes() if path else None
        except OSError:
            return None

    def write(self, key: bytes, result: bytes) -> None:
        """Store a result; several processes may do so at once."""
        path = self._path(key)
        if path is None:
            return
        temporary = path.with_suffix(f".{uuid4().hex[:12]}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(result)
            temporary.replace(path)
        except OSError as error:
            log.debug("Can't write the calibration cache, so the next start measures again: %s", error)

    def _path(self, key: bytes) -> Path | None:
        if self._common_key is None:
            return None
        return self._folder / hashlib.sha256(b"%d\0" % len(key) + key + self._common_key).hexdigest()


def _code() -> str:
    """A hash of this package's sources: a change of the code must be measured. Kernels are part of the fingerprint."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
