"""A PostgreSQL cluster for tests, in a temporary folder and on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg

from crossette.accounts.database.database import Database

LIMIT_S = 60
USER = "crossette"


@dataclass
class Cluster:
    """A server that can be stopped and started."""

    programs: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def migrated(self) -> str:
        """The URL of a database with empty tables."""
        database = Database(url := self.emptied())
        database.migrate()
        database.close()
        return url

    def emptied(self) -> str:
        """Empty its database and return the URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return self.url

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        # Its log must not be a pipe: the server keeps it open.
        self.run("pg_ctl", "-w", "-D", "data", "-l", "log", "-o", options, "start")

    def stop(self, mode: Literal["immediate", "fast"] = "immediate") -> None:
        """As a crash, or as an operator does: "fast" keeps what was committed without waiting for the disk."""
        self.run("pg_ctl", "-w", "-D", "data", "-m", mode, "stop")

    def run(self, program: str, *arguments: str) -> None:
        identity: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root; Debian's package has a user for it
            identity = {"user": "postgres", "group": "postgres", "extra_groups": []}
        subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=LIMIT_S,
            **identity,
        )


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Create and run a cluster, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="crossette-postgres-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        made = Cluster(_programs(), Path(folder), _free_port())
        made.run("initdb", "-D", "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        made.start()
        try:
            yield made
        finally:
            made.stop()


def _programs() -> Path:
    """The folder of initdb and pg_ctl: Debian does not put it on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = shutil.which("initdb") or (str(found[-1]) if found else None)
    assert program is not None, "PostgreSQL is not installed: scripts/test --all does that"
    return Path(program).resolve().parent


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def admin(url: str) -> Iterator[psycopg.Connection]:
    """A connection that is never read-only."""
    options = "-c default_transaction_read_only=off"
    with psycopg.connect(url, autocommit=True, options=options) as connection:
        yield connection
