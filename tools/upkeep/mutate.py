"""Whether tests notice changes of the code: mutate.py FILE… [--tests PATH…]

Each operator, number and text of the files is changed in turn, and their tests run: a change that no test notices is
printed. Works on a copy of the clone in .mutants; the tests are those of the same name, else those of the folder.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPY = ROOT / ".mutants"


def tests_of(root: Path, file: str) -> str:
    """The tests of a file of the package."""
    inside = Path(file).relative_to("src/crossette")
    own = Path("tests") / inside.with_name(f"test_{inside.name}")
    return str(own if (root / own).exists() else own.parent)


def configuration(files: Sequence[str], tests: Sequence[str]) -> str:
    """A table for pyproject.toml. Tests run in one process, in order, and may take all the time they need."""
    arguments = [*tests, "-p", "no:randomly", "-p", "no:xdist", "--hypothesis-profile=fast"]
    return (
        "\n[tool.mutmut]\n"
        f"source_paths = {list(files)}\n"
        'also_copy = ["src", "tests", "tools", "docs", "scripts", "benchmarks", "README.md", "pyproject.toml"]\n'
        f"pytest_add_cli_args_test_selection = {arguments}\n"
    )


def copy(root: Path, folder: Path) -> None:
    """Copy what git lists, with changes that are not committed."""
    shutil.rmtree(folder, ignore_errors=True)
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        target = folder / name
        if (root / name).is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE", help="such as src/crossette/text/stop.py")
    parser.add_argument("--tests", nargs="+", default=[], metavar="PATH", help="the tests to run instead")
    options = parser.parse_args(arguments)
    copy(ROOT, COPY)
    tests = options.tests or sorted({tests_of(ROOT, file) for file in options.files})
    with (COPY / "pyproject.toml").open("a", encoding="utf-8") as project:
        project.write(configuration(options.files, tests))
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    ran = subprocess.run([mutmut, "run", "--max-children", "2"], cwd=COPY, check=False)
    return ran.returncode or subprocess.run([mutmut, "results"], cwd=COPY, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
