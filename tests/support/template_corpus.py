"""Published chat templates, and the prompts that another implementation renders with some of them.

A template has the licence of its model, which often does not allow redistribution. So none is stored here: the source
archive of llama-cpp-python contains llama.cpp's collection of templates, and llama.cpp's test of its own template
engine, which is not Jinja in Python. It is downloaded once, like the default model, and cached next to it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from crossette.folders import cache_folder
from crossette.models.fetch import sha256_of
from support.created_once import creating

_REQUIREMENT = "llama-cpp-python==0.3.16"
_SHA256 = "34ed0f9bd9431af045bb63d9324ae620ad0536653740e9bb163a2e1fcb973be6"
_COLLECTION = "vendor/llama.cpp/models/templates"
_TEST = "vendor/llama.cpp/tests/test-chat-template.cpp"
_STRING = r'"(?:[^"\\]|\\.)*"'
_FIELD = re.compile(rf"/\* \.(?P<name>\w+) ?=? \*/\s*(?:U8C\()?(?P<strings>(?:{_STRING}\s*)+)")


@dataclass(frozen=True, slots=True)
class Published:
    """A template and, if it is known, the prompt of llama.cpp's test conversation."""

    source: str
    bos_token: str = ""
    eos_token: str = ""
    prompt: str | None = None


@cache
def published() -> dict[str, Published]:
    """The templates by name in the collection and the test."""
    folder = cache_folder() / "test-cache" / _REQUIREMENT
    with creating(folder):
        if not folder.is_dir():
            _fetch(folder)
    files = {path.stem: Published(path.read_text("utf-8")) for path in (folder / _COLLECTION).glob("*.jinja")}
    return files | dict(_cases((folder / _TEST).read_text("utf-8")))


def _fetch(folder: Path) -> None:
    with TemporaryDirectory(dir=folder.parent) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        command += ["--no-binary=llama-cpp-python", "--dest", temporary, _REQUIREMENT]
        subprocess.run(command, check=True)
        (archive,) = Path(temporary).glob("*.tar.gz")
        assert sha256_of(archive) == _SHA256
        with tarfile.open(archive) as files:
            for member in files:
                inside = PurePosixPath(*PurePosixPath(member.name).parts[1:])
                if member.isfile() and (str(inside) == _TEST or str(inside.parent) == _COLLECTION):
                    files.extract(member, temporary, filter="data")
        (unpacked,) = (path for path in Path(temporary).iterdir() if path.is_dir())
        unpacked.replace(folder)


def _cases(test: str) -> Iterator[tuple[str, Published]]:
    """The cases of the C++ test. Python parses its string literals in the same way."""
    for case in test.split("/* .name= */")[1:]:
        fields = dict.fromkeys(
            ("template_str", "expected_output", "expected_output_jinja", "bos_token", "eos_token"), ""
        )
        fields |= {match["name"]: _string(match["strings"]) for match in _FIELD.finditer(case)}
        prompt = fields["expected_output_jinja"] or fields["expected_output"]
        name = _string(case.partition("\n")[0])
        yield name, Published(fields["template_str"], fields["bos_token"], fields["eos_token"], prompt)


def _string(strings: str) -> str:
    return "".join(map(ast.literal_eval, re.findall(_STRING, strings)))
