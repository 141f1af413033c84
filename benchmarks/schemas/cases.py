"""The cases of a file: a schema each, with instances that are known to be valid or invalid."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Instance:
    """A JSON value, and whether the schema of its case allows it."""

    data: Any
    is_valid: bool


@dataclass(frozen=True)
class Case:
    """A line of the file."""

    family: str
    name: str
    schema: Any
    instances: tuple[Instance, ...]

    @property
    def is_object(self) -> bool:
        """Whether the schema can be the parameters of a function."""
        return isinstance(self.schema, dict) and self.schema.get("type") == "object"


def read_cases(path: Path) -> list[Case]:
    """The cases of a .jsonl or .jsonl.gz file with lines {family, name, schema, tests: [{data, valid}]}."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [_case(json.loads(line)) for line in text.splitlines() if line.strip()]


def _case(line: dict[str, Any]) -> Case:
    instances = tuple(Instance(test["data"], test["valid"]) for test in line.get("tests", ()))
    return Case(line["family"], line["name"], line["schema"], instances)
