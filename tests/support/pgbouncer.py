"""PgBouncer before a cluster of a test, in its mode for transactions."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from support.postgres import USER, Cluster
from support.waiting import wait_until

LIMIT_S = 60
NUM_CONNECTIONS = 4


@contextmanager
def pgbouncer(cluster: Cluster) -> Iterator[str]:
    """Yields the URL of the cluster's database through it. It has few connections for all of its clients."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    assert program is not None, "PgBouncer is not installed: scripts/test --all does that"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    file = cluster.folder / "pgbouncer.ini"
    file.write_text(
        f"[databases]\npostgres = host=127.0.0.1 port={cluster.port} user={USER}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {NUM_CONNECTIONS}\nmax_client_conn = 200\n"
        "ignore_startup_parameters = options,extra_float_digits\n"
    )
    file.chmod(0o644)
    identity: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    process = subprocess.Popen([program, "-q", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **identity)
    url = f"postgresql://{USER}@127.0.0.1:{port}/postgres"
    try:
        wait_until(lambda: _answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=1):
            return True
    except psycopg.OperationalError:
        return False
