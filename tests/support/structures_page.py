"""The tables of files in docs/structures.md, from the first sentences of the modules' docstrings.

As a program, writes the page. Headings, the text under them and the order of the listed files are kept. All else
between two headings is written anew, also what a merge left there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import crossette

PAGE = Path(__file__).parents[2] / "docs/structures.md"
PACKAGE = Path(crossette.__file__).parent
BASE = "The base, and the engine interface"
_HEAD = ["| file | what it is |", "|---|---|"]
_FILE = re.compile(r"`([\w/]+\.py)`")


def page(text: str) -> str:
    """The page with its tables. Raises ValueError for a file without a docstring."""
    before, files, after = _parts(text)
    sections = re.split(r"^(?=### )", files, flags=re.MULTILINE)[1:]
    folders = {_folder(section) for section in sections}
    written = [_section(section, _files_of(_folder(section), folders)) for section in sections]
    return f"{before}\n" + "\n".join(written) + after


def _parts(text: str) -> tuple[str, str, str]:
    """What is before the sections of files, these, and what is after them from the next heading on."""
    found = re.search(r"\A(.*?^## Files\n)(.*?)(^## .*)\Z", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"{PAGE.name} has no heading `## Files` with another one after it.")
    return found[1], found[2], "\n" + found[3]


def sentence(file: Path) -> str:
    """The first sentence of a module's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{file} has no docstring: say in its first sentence what it is.")
    first = re.split(r"(?<!\.\.)\.(?=\s|$)", re.split(r"\n\n", docstring)[0].replace("\n", " "), maxsplit=1)[0]
    return first.strip().replace("|", "\\|")


def _folder(section: str) -> str:
    """The folder of a section, with a slash at its end; "" for the modules at the top."""
    heading = section.partition("\n")[0].removeprefix("### ").strip()
    return "" if heading == BASE else heading.strip("`")


def _files_of(folder: str, folders: set[str]) -> list[str]:
    """The files of a folder, and of those under it that have no section of their own."""
    return [name for name in _all_files() if max((f for f in folders if name.startswith(f)), key=len) == folder]


def _all_files() -> Iterator[str]:
    for file in sorted(PACKAGE.rglob("*.py")):
        if not file.name.startswith("__"):
            yield file.relative_to(PACKAGE).as_posix()


def _section(text: str, files: list[str]) -> str:
    """A heading, the text under it, and the table of its files: those that are listed first, in their order."""
    heading, _, rest = text.partition("\n")
    intro = re.split(r"^(?:\||<<<<<<<|=======|>>>>>>>)", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()
    listed = [name for name in dict.fromkeys(_FILE.findall(rest)) if name in files]
    ordered = [*listed, *(name for name in files if name not in listed)]
    rows = [f"| `{name}` | {sentence(PACKAGE / name)} |" for name in ordered]
    return "\n".join([heading, "", intro, "", *_HEAD, *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
