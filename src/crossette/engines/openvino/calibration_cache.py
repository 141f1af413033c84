"""Results of measurements, kept from one start to the next under a name that only the same measurement can have.

The name is a hash of all that a result depends on: the CPU, OpenVINO and the graph, the environment variables that
steer them, our own code, and what the measurement itself adds. So a note that is found says what measuring again
would say, nothing ever has to be found outdated, and whatever cannot be read or written is measured at each start.
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

_STEERING = ("OV_", "OPENVINO_", "ONEDNN_", "DNNL_", "TBB_")
"""How the variables begin that change which kernels OpenVINO and its libraries pick."""


class CalibrationCache:
    """Short notes in `folder`, about one compiled graph (`about`: its fingerprint) on this machine."""

    def __init__(self, folder: Path, about: str, *, environ: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        cpu = cpu_identity()
        steering = sorted(f"{name}={value}" for name, value in environ.items() if name.startswith(_STEERING))
        self._common = None if cpu is None else "\0".join([cpu, about, _code(), *steering]).encode()
        """None on a machine that does not say what it is: then nothing is kept."""

    def read(self, facts: bytes) -> bytes | None:
        """The note that was written for the same facts, if any."""
        place = self._place(facts)
        try:
            return place.read_bytes() if place else None
        except OSError:
            return None

    def write(self, facts: bytes, note: bytes) -> None:
        """Keep a note; several processes may do so at once."""
        place = self._place(facts)
        if place is None:
            return
        unfinished = place.with_suffix(f".{uuid4().hex[:12]}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(note)
            unfinished.replace(place)
        except OSError as error:
            log.debug("Can't keep what was measured, so the next start measures again: %s", error)

    def _place(self, facts: bytes) -> Path | None:
        if self._common is None:
            return None
        return self._folder / hashlib.sha256(b"%d\0" % len(facts) + facts + self._common).hexdigest()


def _code() -> str:
    """The sources of this package: who changes one wants to see it measured."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
