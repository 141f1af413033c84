"""The results as files: one per model, with a line per run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
from common import machine

from peers.runs import Run
from peers.servers import llama_version


def versions() -> dict[str, str]:
    return {"crossette": version("crossette"), "openvino": version("openvino"), "llama-server": llama_version()}


class _File(msgspec.Struct):
    command: str
    runs: list[Run]


class Record:
    """The runs of a measurement, and its commands. A resumed record keeps its files.

    Adding a run replaces an earlier run of the same model, workload, round and server.
    """

    def __init__(self, folder: Path, command: str) -> None:
        self._folder = folder
        self._runs: dict[tuple[str, str, int, str], Run] = {}
        self._files: dict[str, Path] = {}
        """Files by model."""
        self.commands = [command]

    @classmethod
    def resumed(cls, folder: Path, command: str) -> Record:
        """A record with the runs of each model's newest file in `folder`."""
        record = cls(folder, command)
        earlier: dict[str, None] = {}
        for path in sorted(folder.glob("*-peers-*.json")):  # names begin with the date, so the newest is read last
            file = msgspec.json.decode(path.read_bytes(), type=_File)
            model = path.stem.rpartition("-peers-")[2]
            record._files[model] = path
            record._runs = {key: run for key, run in record._runs.items() if run.model != model}
            record.add(*file.runs)
            earlier |= dict.fromkeys(file.command.split(_SEPARATOR))
        record.commands = [*dict.fromkeys((*earlier, command))]
        return record

    @property
    def runs(self) -> Sequence[Run]:
        return [*self._runs.values()]

    def add(self, *runs: Run) -> None:
        for run in runs:
            self._runs[run.model, run.workload, run.round, run.server] = run

    def has(self, model: str, workload: str, number: int, servers: Iterable[str]) -> bool:
        """Whether a round is complete without failures; otherwise all servers of the round are measured again."""
        found = [self._runs.get((model, workload, number, server)) for server in servers]
        return all(run is not None and run.failure is None for run in found)

    def save(self) -> list[Path]:
        """Write a file per model, named by the date of its first run."""
        self._folder.mkdir(parents=True, exist_ok=True)
        head = {"command": _SEPARATOR.join(self.commands), "machine": machine(), "versions": versions()}
        for model in dict.fromkeys(run.model for run in self.runs):
            file = self._files.setdefault(model, self._folder / f"{datetime.now(UTC):%Y-%m-%d}-peers-{model}.json")
            text = ",\n".join(msgspec.json.encode(run).decode() for run in self.runs if run.model == model)
            file.write_text(f'{msgspec.json.encode(head).decode()[:-1]},"runs":[\n{text}\n]}}\n')
        return [*self._files.values()]


_SEPARATOR = " && "
"""Joins the commands that produced a file."""
