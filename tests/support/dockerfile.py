"""The steps of the Dockerfile without a container engine: each stage is a layer over this machine's files, in a chroot.

Needs root on Linux. This machine stands for the base image, with the Python that runs the tests as its `python`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LIMIT_S = 280
_PYTHON = Path(sys.executable).resolve().with_name("python")
_PASSED_ON = ("PIP_", "HTTP", "http", "NO_PROXY", "no_proxy", "SSL_")
"""What the installer needs to reach a package index from here."""


def instructions(file: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile in order: name and value, without comments and continued lines."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(name.upper(), value.strip()) for line in lines if line.strip() for name, _, value in [line.partition(" ")]]


@dataclass
class Stage:
    """A stage of a build: its files, and what the instructions set for its processes."""

    folder: Path
    context: Path
    others: dict[str, Stage]
    user: str = "0"
    cwd: str = "/"
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": f"{_PYTHON.parent}:/usr/bin:/bin:/usr/sbin:/sbin"})
    words: dict[str, list[str]] = field(default_factory=dict)
    """ENTRYPOINT, CMD and HEALTHCHECK as command lines."""

    def __post_init__(self) -> None:
        for name in ("files", "work", "root"):
            (self.folder / name).mkdir(parents=True)
        if not _PYTHON.exists():
            self._write(str(_PYTHON)).symlink_to(Path(sys.executable).resolve().name)
        (self.folder / "files/root").mkdir(mode=0o755, exist_ok=True)  # pyenv's Python is in there

    def apply(self, name: str, value: str) -> None:
        """Carry out an instruction. Raises AssertionError if a step fails, or the instruction is unknown here."""
        if name == "RUN":
            ran = self.run(["sh", "-ec", re.sub(r"^(--mount=\S+\s+)+", "", value)], **_passed_on())
            assert ran.returncode == 0, f"RUN {value} exited with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
        elif name == "COPY":
            self._copy(shlex.split(value))
        elif name == "ENV":
            self.environ |= dict(part.split("=", 1) for part in shlex.split(value))
        elif name == "WORKDIR":
            self.cwd = value
            self._write(value).mkdir(parents=True, exist_ok=True)
        elif name == "USER":
            self.user = value
        elif name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
            self.words[name] = json.loads(value[value.index("[") :])
        else:
            assert name in ("VOLUME", "EXPOSE"), f"{name} is not known here"

    def run(self, command: Sequence[str], **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the stage, as its user."""
        ran = self.command(command, environ)
        return subprocess.run(ran, capture_output=True, encoding="utf-8", timeout=LIMIT_S, check=False)

    def command(self, command: Sequence[str], environ: dict[str, str]) -> list[str]:
        """The command line that runs a command in the stage. Its mounts end with it."""
        root = self.folder / "root"
        options = f"lowerdir=/,upperdir={self.folder}/files,workdir={self.folder}/work"
        mounts = [f"mount -t overlay overlay -o {options} {root}", f"mount -t proc proc {root}/proc"]
        mounts += [f"mount --rbind /{name} {root}/{name}" for name in ("dev", "sys")]
        inside = shlex.join(["sh", "-c", f'cd {self.cwd} && exec "$@"', "sh", *command])
        settings = shlex.join(f"{name}={value}" for name, value in {**self.environ, **environ}.items())
        chroot = f"exec chroot --userspec={self.user}:{self.user} --groups= {root} env -i {settings} {inside}"
        return ["unshare", "--mount", "sh", "-ec", "; ".join([*mounts, chroot])]

    def _copy(self, words: list[str]) -> None:
        """COPY from the context; what is copied from another stage is moved, as nothing reads it there again."""
        *sources, target = [word for word in words if not word.startswith("--")]
        (origin,) = [word.removeprefix("--from=") for word in words if word.startswith("--from=")] or [""]
        for source in sources:
            copied = self._write(target)
            if origin:
                (self.others[origin].folder / "files" / source.strip("/")).rename(copied)
            elif (self.context / source).is_dir():
                shutil.copytree(self.context / source, copied, dirs_exist_ok=True)
            else:
                if target.endswith("/"):
                    copied.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.context / source, copied)

    def _write(self, path: str) -> Path:
        """Where a path of the stage is written from outside."""
        target = self.folder / "files" / os.path.normpath(os.path.join(self.cwd, path)).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def _passed_on() -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    return {**passed, "PIP_NO_COMPILE": "1"}  # half of the time of an installation


@contextmanager
def built(file: Path, folder: Path) -> Iterator[Stage]:
    """The last stage of a Dockerfile, whose folder is its context. The files are removed at the end."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    try:
        for name, value in instructions(file):
            if name == "FROM":
                called = value.partition(" AS ")[2] or str(len(stages))
                stage = stages[called] = Stage(folder / called, file.parent, dict(stages))
            else:
                assert stage is not None
                stage.apply(name, value)
        assert stage is not None
        yield stage
    finally:
        shutil.rmtree(folder, ignore_errors=True)
