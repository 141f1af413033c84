"""Workers of the tests that need the same folder at once create it once."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from support.created_once import creating

WORKERS = 4


def create(folder: Path) -> bool:
    """Whether this worker created the folder, which takes several steps."""
    with creating(folder):
        if (folder / "ready").exists():
            return False
        folder.mkdir()
        for index in range(1000):
            (folder / str(index)).touch()
        (folder / "ready").touch()
        return True


def test_one_of_several_workers_creates_a_folder(tmp_path: Path) -> None:
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as workers:
        created = list(workers.map(create, [tmp_path / "new" / "folder"] * WORKERS))

    assert sorted(created) == [False] * (WORKERS - 1) + [True]
