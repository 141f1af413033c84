"""Both databases have the same schema and report useful errors."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, insert, select

from crossette.accounts.database import sqlite
from crossette.accounts.database.database import Database, ValuesRejected
from crossette.accounts.database.keys import Keys
from crossette.accounts.database.tables import REVISION, keys, metadata
from crossette.errors import ConfigError, DatabaseError
from support.postgres import Cluster


def test_migrations_produce_the_declared_tables(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISION


def test_a_migrated_database_is_opened_without_the_tool_that_migrates(database_url: str) -> None:
    code = "import sys; from crossette.accounts.database.database import Database; Database(sys.argv[1]).migrate()"
    code += "; print('alembic' in sys.modules)"

    first, second = (subprocess.check_output([sys.executable, "-c", code, database_url], text=True) for _ in range(2))

    assert (first, second) == ("True\n", "False\n")


@pytest.mark.slow
def test_several_processes_may_migrate_a_database_at_once(database_url: str) -> None:
    migrate = "import sys; from crossette.accounts.database.database import Database; Database(sys.argv[1]).migrate()"
    command = [sys.executable, "-c", migrate, database_url]

    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in running]

    assert ended == [("", 0)] * 3
    database = Database(database_url)
    assert not database.is_blank()
    database.close()


def test_a_database_of_a_newer_version_is_rejected(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '999'")

    with pytest.raises(ConfigError, match="written by a newer version of crossette"):
        database.migrate()


def test_a_failed_transaction_is_rolled_back(database: Database) -> None:
    row = {"id": "a", "name": "a", "version": 1, "hash": "", "is_admin": False, "limits": {}}

    with pytest.raises(ValuesRejected), database.write() as connection:
        connection.execute(insert(keys).values(**row))  # created_at is missing

    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(keys)).scalar_one() == 0


def test_an_error_contains_no_values(database: Database) -> None:
    with pytest.raises(DatabaseError) as raised, database.write() as connection:
        connection.execute(insert(keys).values(id="a", name="a", version=1, hash="very-secret"))

    assert "very-secret" not in "".join(traceback.format_exception(raised.value))
    assert str(raised.value).startswith(f"Can't write {database}: ")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "is not a URL"),
        ("mysql://me:hunter2@host/x", "cannot begin with mysql://"),
        ("sqlite://", "has no file"),
        ("sqlite:///:memory:", "has no file"),
    ],
)
def test_an_invalid_url_is_rejected_without_its_password(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        Database(url)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_database_is_shown_as_its_url_without_the_password(scheme: str) -> None:
    database = Database(f"{scheme}://me:hunter2@127.0.0.1:1/x")

    assert str(database) == "postgresql+psycopg://me:***@127.0.0.1:1/x"
    with pytest.raises(DatabaseError) as raised:
        database.migrate()
    assert "hunter2" not in str(raised.value)


def test_the_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "new" / "crossette.db"

    Database(f"sqlite:///{file}").migrate()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_connections_are_pooled_as_long_as_the_file_is_the_same(tmp_path: Path) -> None:
    file = tmp_path / "kept.db"
    wal = tmp_path / "kept.db-wal"  # deleted when the last connection is closed
    database = Database(f"sqlite:///{file}")
    database.migrate()
    Keys(database).create("first")
    was_open_between = wal.exists()
    file.rename(tmp_path / "moved.db")
    wal.unlink()

    with pytest.raises(DatabaseError, match="read"):
        Keys(database).list()
    database.migrate()
    found = Keys(database).list()
    database.close()

    assert was_open_between
    assert found == []
    assert not wal.exists()


def test_migrating_a_file_keeps_its_locks(tmp_path: Path) -> None:
    """Opening and closing the file directly would release SQLite's locks on it: another process could then delete the
    WAL, and later writes would be lost."""
    database = Database(f"sqlite:///{tmp_path}/locked.db")
    database.migrate()
    Keys(database).create("first")
    database.migrate()
    count = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(*c.execute('select count(*) from keys'))"
    command = [sys.executable, "-c", f"{count}; c.close()", str(tmp_path / "locked.db")]

    others = []
    for name in ("second", "third"):
        others.append(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
        Keys(database).create(name)
    others.append(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
    database.close()

    assert others == ["(1,)\n", "(2,)\n", "(3,)\n"]


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    database = Database(f"sqlite:///{tmp_path}/file/crossette.db")

    with pytest.raises(DatabaseError, match=r"Can't write .*file/crossette\.db: "):
        database.migrate()
    assert database.is_blank()


def test_a_file_that_is_not_a_database_does_not_count_as_empty(tmp_path: Path) -> None:
    (tmp_path / "crossette.db").write_bytes(b"PK" * 4096)
    database = Database(f"sqlite:///{tmp_path}/crossette.db")

    with pytest.raises(DatabaseError, match="file is not a database"):
        database.migrate()
    assert not database.is_blank()


def test_a_folder_without_search_permission_does_not_count_as_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(f"sqlite:///{tmp_path}/crossette.db")
    database.migrate()
    database.close()
    monkeypatch.setattr(sqlite, "_open", refuse_open)
    monkeypatch.setattr(Path, "stat", refuse_stat)

    for use in (database.read, database.write):
        with pytest.raises(DatabaseError, match=r"Can't (read|write) .*crossette\.db: .*Permission denied"), use():
            pass
    assert not database.is_blank()


def refuse_open(*_: object) -> None:
    raise sqlite3.OperationalError("unable to open database file")


def refuse_stat(self: Path, **_: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", str(self))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can enter every folder")
def test_a_real_folder_without_search_permission(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    database = Database(f"sqlite:///{folder}/crossette.db")
    database.migrate()
    database.close()
    folder.chmod(0)
    try:
        with pytest.raises(DatabaseError, match="Permission denied"), database.read():
            pass
        assert not database.is_blank()
    finally:
        folder.chmod(0o700)


def test_the_wal_may_disappear_while_it_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "crossette.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE found (it)")
    wal, stat = file.with_name("crossette.db-wal"), Path.stat
    wal.write_bytes(b"")
    opened = sqlite._open

    def vanishing(self: Path, **more: Any) -> os.stat_result:
        if self == wal:
            self.unlink(missing_ok=True)
        return stat(self, **more)

    def read_only(file: Path, mode: str, *kind: Any) -> sqlite3.Connection:
        if mode == "mode=rw":
            raise sqlite3.OperationalError("unable to open database file")
        return opened(file, mode, *kind)

    monkeypatch.setattr(sqlite, "_open", read_only)
    monkeypatch.setattr(Path, "stat", vanishing)
    with Database(f"sqlite:///{file}").read() as reading:
        assert reading.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all() == ["found"]


@pytest.mark.all
def test_only_one_server_at_a_time_deletes_old_rows(postgres: Cluster) -> None:
    url = postgres.emptied()
    first, second = Database(url), Database(url)
    try:
        with first.sweep() as deleting, second.sweep() as waiting:
            assert (deleting is not None, waiting) == (True, None)
        with second.sweep() as deleting:
            assert deleting is not None
    finally:
        first.close()
        second.close()
