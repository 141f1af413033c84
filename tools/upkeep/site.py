"""The documentation as a site: the pages of docs/ and of the root, with links that hold there: site.py [--serve]

mkdocs.yml has its navigation. The site is written to .site/html.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
PAGES = ROOT / ".site/pages"
FROM_ROOT = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "CODE_OF_CONDUCT.md": "CODE_OF_CONDUCT.md",
}
"""Pages beside docs/, and their names in the site."""
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def place(path: str) -> str:
    """Where a file of the clone is in the site."""
    if path in FROM_ROOT:
        return FROM_ROOT[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}"


def linked(path: str, text: str) -> list[str]:
    """The files of the clone to which a page links."""
    return [os.path.normpath(PurePosixPath(path).parent / target) for target in _LINK.findall(text)]


def rewritten(path: str, text: str) -> str:
    """A page whose links hold in the site."""
    here = PurePosixPath(place(path)).parent

    def replace(found: re.Match[str]) -> str:
        target = os.path.normpath(PurePosixPath(path).parent / found[1])
        return os.path.relpath(place(target), here)

    return _LINK.sub(replace, text)


def write_pages(root: Path, folder: Path) -> None:
    """Write the pages, what docs/ has beside them, and the files that they link to."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / "docs", folder)
    pages = [*FROM_ROOT, *(str(page.relative_to(root)) for page in sorted((root / "docs").rglob("*.md")))]
    for path in pages:
        text = (root / path).read_text(encoding="utf-8")
        (folder / place(path)).write_text(rewritten(path, text), encoding="utf-8")
        for target in linked(path, text):
            if place(target).startswith("files/"):
                copied = folder / place(target)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / target, copied)


def main(arguments: Sequence[str]) -> int:
    write_pages(ROOT, PAGES)
    command = ["serve"] if list(arguments) == ["--serve"] else ["build", "--strict", "--clean"]
    return subprocess.run([sys.executable, "-m", "mkdocs", *command], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
