"""Chat templates as the makers of models published them, and prompts that another implementation made with some.

A template belongs to its model and has the model's licence, which often is not one to pass on. So none is kept here:
the source archive of llama-cpp-python has llama.cpp's collection, and llama.cpp's test of what its own engine, which
is no Jinja in Python, makes of others. It is fetched once, as the default model is, and kept beside it.
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

_REQUIREMENT = "llama-cpp-python==0.3.16"
_SHA256 = "34ed0f9bd9431af045bb63d9324ae620ad0536653740e9bb163a2e1fcb973be6"
_COLLECTION = "vendor/llama.cpp/models/templates"
_TEST = "vendor/llama.cpp/tests/test-chat-template.cpp"
_STRING = r'"(?:[^"\\]|\\.)*"'
_FIELD = re.compile(rf"/\* \.(?P<name>\w+) ?=? \*/\s*(?:U8C\()?(?P<strings>(?:{_STRING}\s*)+)")


@dataclass(frozen=True, slots=True)
class Published:
    """A template, and where it is known what llama.cpp's test conversation becomes with it."""

    source: str
    bos_token: str = ""
    eos_token: str = ""
    prompt: str | None = None


@cache
def published() -> dict[str, Published]:
    """By the names that the collection and the test give them."""
    folder = cache_folder() / "test-cache" / _REQUIREMENT
    if not folder.is_dir():
        _fetch(folder)
    files = {path.stem: Published(path.read_text("utf-8")) for path in (folder / _COLLECTION).glob("*.jinja")}
    return files | dict(_cases((folder / _TEST).read_text("utf-8")))


def _fetch(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
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
    """The cases of the C++ test, whose strings Python reads alike."""
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
