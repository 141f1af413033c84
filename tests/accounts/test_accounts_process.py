"""Keys and ledger of a real server process: killed, stopped, out of disk space, and with concurrent commands."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import psycopg
import pytest

from support.postgres import cluster

pytestmark = pytest.mark.slow

LIMIT_S = 60
SERVER = Path(__file__).parents[2] / "benchmarks/fake_server.py"


@dataclass(frozen=True)
class Served:
    root: str
    process: subprocess.Popen[str]
    log: Path

    def is_live(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.root}/health/live", timeout=LIMIT_S).status_code == 200
        except httpx.TransportError:
            return False

    def post(self, key: str | None = None, **fields: object) -> int:
        """The status of a small completion."""
        body = {"model": "fake", "prompt": "a", "max_tokens": 2, **fields}
        headers = {"x-api-key": key} if key else {}
        return httpx.post(f"{self.root}/v1/completions", json=body, headers=headers, timeout=LIMIT_S).status_code

    def ledger(self) -> dict[str, Any]:
        """The state of the ledger."""
        state: dict[str, Any] = httpx.get(f"{self.root}/health/ready", timeout=LIMIT_S).json()["ledger"]
        return state

    def wait_for_log(self, text: str) -> None:
        """Return when the log contains a text."""
        wait_until(lambda: text in self.log.read_text(), self.log.read_text)

    def wait_for(self, **counts: int) -> None:
        """Return when the ledger reports these counts."""
        wait_until(lambda: self.ledger().items() >= counts.items(), lambda: f"{self.ledger()} is not {counts}")

    def stop(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(LIMIT_S)


def wait_until(happened: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    for _ in range(LIMIT_S * 20):
        if happened():
            return
        Event().wait(0.05)
    raise AssertionError(otherwise())


@contextmanager
def serving(database: Path | str, log: Path, as_others: bool = False) -> Iterator[Served]:
    """The real app and server with the fake engine, and with keys and ledger in a file or at a URL."""
    url = database if isinstance(database, str) else f"sqlite:///{database}"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(SERVER), "--port", str(port), "--database-url", url]
    if as_others:
        command = without_privileges(command)
    with log.open("a") as output, subprocess.Popen(command, stderr=output, text=True) as process:
        served = Served(f"http://127.0.0.1:{port}", process, log)
        try:
            wait_until(served.is_live, log.read_text)
            yield served
        finally:
            process.kill()


def rows(file: Path) -> list[tuple[Any, ...]]:
    """All rows of a file, after an integrity check."""
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        columns = "status, model, prompt_tokens, completion_tokens, finish_reason"
        return connection.execute(f"SELECT {columns} FROM requests").fetchall()


def crossette(*arguments: str, url: str, as_others: bool = False, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "crossette", *arguments]
    return subprocess.run(
        without_privileges(command) if as_others else command,
        env=os.environ | {"CROSSETTE_DATABASE_URL": url} | environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


COMPLETED = (200, "fake", 1, 2, "length")
NUM_REQUESTS = 20


def test_a_stop_writes_every_row(tmp_path: Path) -> None:
    file = tmp_path / "crossette.db"
    with serving(file, tmp_path / "log") as served:
        assert [served.post() for _ in range(NUM_REQUESTS)] == [200] * NUM_REQUESTS
        assert served.stop(signal.SIGTERM) == 0

    assert rows(file) == [COMPLETED] * NUM_REQUESTS


def test_a_killed_process_leaves_complete_rows_and_loses_only_queued_ones(tmp_path: Path) -> None:
    file = tmp_path / "crossette.db"
    with serving(file, tmp_path / "log") as served:
        for _ in range(NUM_REQUESTS):
            served.post()
        served.wait_for(written=NUM_REQUESTS)
        for _ in range(NUM_REQUESTS):
            served.post()
        state = served.ledger()
        body = {"model": "fake", "prompt": "a", "max_tokens": 4000, "stream": True}
        with httpx.stream("POST", f"{served.root}/v1/completions", json=body, timeout=LIMIT_S) as stream:
            next(stream.iter_lines())
            assert served.stop(signal.SIGKILL) == -signal.SIGKILL

    kept = rows(file)
    short = [row for row in kept if row[3] < 4000]  # the stream may have ended before the signal
    assert set(short) == {COMPLETED}
    assert state["written"] <= len(kept) <= len(short) + 1 <= 2 * NUM_REQUESTS + 1
    with serving(file, tmp_path / "second-log") as again:
        assert again.post() == 200
        again.wait_for(written=1, lost=0)
    assert len(rows(file)) == len(kept) + 1


def test_keys_are_created_and_revoked_while_the_server_runs(tmp_path: Path) -> None:
    file = tmp_path / "crossette.db"
    with serving(file, tmp_path / "log") as served:
        assert (served.post(), served.post("EMPTY")) == (200, 200)

        key = crossette("keys", "create", "alice", url=f"sqlite:///{file}").stdout.strip()
        wait_until(lambda: served.post() == 401, lambda: "the server still accepts requests without a key")
        assert (served.post(key), served.post("EMPTY")) == (200, 401)

        assert crossette("keys", "revoke", "alice", url=f"sqlite:///{file}").returncode == 0
        wait_until(lambda: served.post(key) == 401, lambda: "the key is still valid")
        command = Path(f"/proc/{served.process.pid}/cmdline")
        shown = served.log.read_text() + (command.read_text() if command.exists() else "")
    assert key.rpartition("-")[2] not in shown


def test_an_update_of_a_key_takes_effect_while_the_server_runs(tmp_path: Path) -> None:
    file = tmp_path / "crossette.db"
    url = f"sqlite:///{file}"
    key = crossette("keys", "create", "alice", "--total-tokens", "3", url=url).stdout.strip()
    with serving(file, tmp_path / "log") as served:
        assert (served.post(key), served.post(key)) == (200, 429)

        assert crossette("keys", "update", "alice", "--total-tokens", "6", url=url).returncode == 0
        wait_until(lambda: served.post(key) == 200, lambda: "the larger budget has no effect")
        assert served.post(key) == 429

        assert crossette("keys", "update", "alice", "--total-tokens", "none", "--model", "x", url=url).returncode == 0
        wait_until(lambda: served.post(key) == 404, lambda: "the allowed model has no effect")
        assert crossette("keys", "update", "alice", "--all-models", url=url).returncode == 0
        wait_until(lambda: served.post(key) == 200, lambda: "the key is still limited")


@pytest.mark.all
def test_a_server_loses_no_row_while_postgres_stops_and_starts_again(tmp_path: Path) -> None:
    with cluster() as postgres, serving(postgres.url, tmp_path / "log") as served:
        key = crossette("keys", "create", "alice", url=postgres.url).stdout.strip()
        wait_until(lambda: served.post() == 401, lambda: "the server still accepts requests without a key")
        assert served.post(key) == 200
        postgres.stop()
        assert [served.post(key) for _ in range(NUM_REQUESTS)] == [200] * NUM_REQUESTS
        served.wait_for_log("Can't write the ledger")
        served.wait_for_log("Can't refresh the API keys. Known keys stay in use")
        assert (served.ledger()["waiting"] >= NUM_REQUESTS, served.ledger()["lost"]) == (True, 0)
        assert (served.post(key), served.post("EMPTY")) == (200, 401)

        postgres.start()
        served.wait_for_log("The ledger is up to date. Rows lost since the start of the server: 0")
        served.wait_for(waiting=0, lost=0)
        assert crossette("keys", "revoke", "alice", url=postgres.url).returncode == 0
        wait_until(lambda: served.post(key) == 401, lambda: "the key is still valid")
        assert served.stop(signal.SIGTERM) == 0
        with psycopg.connect(postgres.url) as connection:
            kept = connection.execute("SELECT count(*) FROM requests WHERE status = 200 AND key_id <> ''").fetchone()
    assert kept is not None
    assert kept[0] >= NUM_REQUESTS + 2
    assert "has lost" not in served.log.read_text()


# --- a folder without search permission ---

# Root can enter every folder; a process without these capabilities cannot.
AS_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def without_privileges(command: list[str]) -> list[str]:
    """The command, subject to file permissions even as root."""
    return [*AS_OTHERS, *command] if os.geteuid() == 0 else command


@pytest.fixture
def restricted(tmp_path: Path) -> Iterator[Path]:
    """A folder whose permissions a test removes and restores."""
    if os.geteuid() == 0 and subprocess.run([*AS_OTHERS, "true"], capture_output=True).returncode:
        pytest.skip("setpriv cannot drop capabilities in this container")
    folder = tmp_path / "data"
    folder.mkdir()
    yield folder
    folder.chmod(0o700)


def test_a_folder_without_search_permission_for_a_while_loses_no_row_and_keeps_authentication(
    restricted: Path, tmp_path: Path
) -> None:
    file = restricted / "crossette.db"
    with serving(file, tmp_path / "log", as_others=True) as served:
        key = crossette("keys", "create", "alice", url=f"sqlite:///{file}", as_others=True).stdout.strip()
        wait_until(lambda: served.post() == 401, lambda: "the server still accepts requests without a key")
        restricted.chmod(0)
        assert served.post(key) == 200
        served.wait_for_log("Can't write the ledger")
        served.wait_for_log("Can't refresh the API keys. Known keys stay in use")
        assert (served.post(key), served.post(), served.ledger()["lost"]) == (200, 401, 0)

        restricted.chmod(0o700)
        served.wait_for_log("The ledger is up to date. Rows lost since the start of the server: 0")
        assert crossette("keys", "revoke", "alice", url=f"sqlite:///{file}", as_others=True).returncode == 0
        wait_until(lambda: served.post(key) == 401, lambda: "the key is still valid")


def test_a_server_that_cannot_determine_whether_keys_exist_does_not_start(restricted: Path) -> None:
    restricted.chmod(0)

    ended = crossette(
        "serve", "no-such-model", "--port", "0", url=f"sqlite:///{restricted}/crossette.db", as_others=True
    )

    assert ended.returncode == 1
    assert "The server does not start, because it cannot authenticate API keys." in ended.stderr
    assert "Traceback" not in ended.stderr


# --- addresses ---


def test_without_keys_only_this_machine_is_served(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/crossette.db"
    serve = ("serve", "no-such-model", "--port", "0", "--host")

    rejected = crossette(*serve, "0.0.0.0", url=url)
    assert rejected.returncode == 1
    assert "--host 0.0.0.0 is reachable from other machines, but there are no keys" in rejected.stderr
    assert "no-such-model" not in rejected.stderr

    for allowed in (("127.0.0.1",), ("localhost",), ("0.0.0.0", "--allow-anonymous")):
        assert "There is no model 'no-such-model'" in crossette(*serve, *allowed, url=url).stderr

    crossette("keys", "create", "alice", url=url)
    assert "There is no model 'no-such-model'" in crossette(*serve, "0.0.0.0", url=url).stderr


def test_a_server_that_cannot_read_its_keys_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "crossette.db").write_bytes(b"PK" * 4096)

    ended = crossette("serve", "no-such-model", "--port", "0", url=f"sqlite:///{tmp_path}/crossette.db")

    assert ended.returncode == 1
    assert "The server does not start, because it cannot authenticate API keys." in ended.stderr
    assert "no-such-model" not in ended.stderr


def test_by_default_the_database_is_in_the_data_folder(tmp_path: Path) -> None:
    ended = crossette("keys", "create", "alice", url="", CROSSETTE_HOME=str(tmp_path / "home"))

    assert ended.returncode == 0
    assert (tmp_path / "home/crossette.db").is_file()


# --- full and read-only disks ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte, which a test may fill or make read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    if not mounted:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


def fill(filler: Path) -> None:
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as full:
        while True:
            full.write(bytes(4096))


def test_a_full_disk_fails_no_request_and_loses_no_row_once_there_is_space_again(
    small_disk: Path, tmp_path: Path
) -> None:
    file, filler = small_disk / "crossette.db", small_disk / "filler"
    with serving(file, tmp_path / "log") as served:
        served.post()
        served.wait_for(written=1)
        fill(filler)
        # Rows too large for the free pages of the file.
        assert [served.post(user="x" * 200, metadata={"k": "v" * 500}) for _ in range(50)] == [200] * 50
        wait_until(lambda: "Can't write the ledger" in served.log.read_text(), lambda: f"{served.ledger()}")
        assert (served.ledger()["waiting"], served.ledger()["lost"]) == (50, 0)

        filler.unlink()
        served.wait_for(written=51, waiting=0, lost=0)
        assert "The ledger is up to date. Rows lost since the start of the server: 0" in served.log.read_text()
    assert len(rows(file)) == 51


def test_a_read_only_folder_keeps_its_keys_and_logs_lost_rows(small_disk: Path, tmp_path: Path) -> None:
    file = small_disk / "crossette.db"
    key = crossette("keys", "create", "boss", "--admin", url=f"sqlite:///{file}").stdout.strip()
    assert mount("-o", "remount,ro", str(small_disk))

    listed, used = (crossette(*arguments, url=f"sqlite:///{file}") for arguments in (("keys", "list"), ("usage",)))
    assert ("boss" in listed.stdout, listed.stderr, used.returncode, used.stderr) == (True, "", 0, "")
    assert "Can't write" in crossette("keys", "create", "alice", url=f"sqlite:///{file}").stderr

    with serving(file, tmp_path / "log") as served:
        assert (served.post(), served.post(key), served.post(key)) == (401, 200, 200)
        assert served.stop(signal.SIGTERM) == 0
        log = served.log.read_text()

    assert "The ledger cannot be written: " in log
    assert "The ledger has lost 3 rows: " in log
    assert rows_of_frozen(file) == 0


def rows_of_frozen(file: Path) -> int:
    with closing(sqlite3.connect(f"file:{file}?immutable=1", uri=True)) as connection:
        count: int = connection.execute("SELECT count(*) FROM requests").fetchone()[0]
        return count


def test_a_server_with_existing_keys_starts_on_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    file = small_disk / "crossette.db"
    key = crossette("keys", "create", "boss", url=f"sqlite:///{file}").stdout.strip()
    fill(small_disk / "filler")

    with serving(file, tmp_path / "log") as served:
        assert (served.post(), served.post(key)) == (401, 200)
        (small_disk / "filler").unlink()
        served.wait_for(written=2, waiting=0, lost=0)


def test_a_folder_that_cannot_be_created_fails_no_request(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with serving(tmp_path / "file/crossette.db", tmp_path / "log") as served:
        assert served.post() == 200
        assert served.ledger()["waiting"] == 1
        served.stop(signal.SIGTERM)
        log = served.log.read_text()

    assert "Keys and usage cannot be stored: Can't write" in log
    assert "The ledger has lost 1 rows: Can't write" in log
