"""Cut a release: release.py VERSION, or build what is here: release.py --build

Nothing leaves this machine: the last lines say what to push and to upload.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from upkeep import changelog

ROOT = Path(__file__).parents[2]
CHECKS = (["scripts/check"], ["scripts/test"])
_VERSION = re.compile(r'^version = "(.*)"$', re.MULTILINE)


class ReleaseError(Exception):
    """The release cannot be cut. The message says what to do."""


def release(root: Path, version: str, checks: Sequence[Sequence[str]] = CHECKS, is_complete: bool = True) -> list[Path]:
    """Set the version, cut the changelog, check, build, commit and tag; returns the built files.

    A version whose section and number are committed is checked, built and tagged as it is. `is_complete` installs the
    wheel with its dependencies. Raises ReleaseError before anything is written, and after a failed check with the
    worktree as the check saw it.
    """
    _check_state(root, version)
    _write_version(root, version)
    for command in checks:
        if subprocess.run(command, cwd=root, check=False).returncode:
            raise ReleaseError(f"{' '.join(command)} failed. Mend it, and undo this with: git checkout .")
    files = build(root)
    check_wheel(files, version, is_complete)
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        _git(root, "commit", "--quiet", "--all", "--message", f"release: {version}")
    notes = changelog.section((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    _git(root, "tag", "--annotate", f"v{version}", "--cleanup=verbatim", "--message", f"{version}\n\n{notes}")
    return files


def build(root: Path) -> list[Path]:
    """Build the source distribution and the wheel into dist/, which is emptied before."""
    shutil.rmtree(root / "dist", ignore_errors=True)
    subprocess.run([sys.executable, "-m", "hatchling", "build"], cwd=root, check=True, stdout=subprocess.DEVNULL)
    return sorted((root / "dist").iterdir())


def check_wheel(files: Sequence[Path], version: str, is_complete: bool) -> None:
    """Install the wheel in an empty environment and ask it for its version. Raises ReleaseError."""
    (wheel,) = [file for file in files if file.suffix == ".whl"]
    if f"-{version}-" not in wheel.name:
        raise ReleaseError(f"{wheel.name} is not version {version}: pyproject.toml has another.")
    if not is_complete:
        return
    with TemporaryDirectory(prefix="crossette-release-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", str(wheel)]
        subprocess.run(pip, check=True, cwd=folder)
        asked = [str(python), "-m", "crossette", "--version"]
        printed = subprocess.run(asked, check=True, capture_output=True, text=True, cwd=folder).stdout
    if printed != f"crossette {version}\n":
        raise ReleaseError(f"The installed wheel says {printed!r}.")


def _check_state(root: Path, version: str) -> None:
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"{version!r} is not a version: give three numbers, such as 0.2.0.")
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        raise ReleaseError("The worktree has changes. Commit them first.")
    if _git(root, "tag", "--list", f"v{version}"):
        raise ReleaseError(f"v{version} is tagged. Give a later version.")


def _write_version(root: Path, version: str) -> None:
    """Write number and section, unless both are there."""
    project, log = root / "pyproject.toml", root / "CHANGELOG.md"
    text, notes = project.read_text(encoding="utf-8"), log.read_text(encoding="utf-8")
    if version in _VERSION.findall(text) and changelog.section(notes, version):
        return
    try:
        notes = changelog.cut(notes, version, date.today())
    except ValueError as error:
        raise ReleaseError(str(error)) from error
    log.write_text(notes, encoding="utf-8")
    project.write_text(_VERSION.sub(f'version = "{version}"', text, count=1), encoding="utf-8")


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def main(arguments: list[str]) -> int:
    match arguments:
        case ["--build"]:
            files = build(ROOT)
            (version,) = _VERSION.findall((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[:1]
            after: list[str] = []
        case [version]:
            files = release(ROOT, version)
            after = [f"git push --follow-tags origin HEAD v{version}", "uv publish"]
        case _:
            print("Give a version, such as 0.2.0, or --build.", file=sys.stderr)
            return 2
    print("\n".join([*(str(file.relative_to(ROOT)) for file in files), *(f"next: {line}" for line in after)]))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ReleaseError as error:
        sys.exit(str(error))
