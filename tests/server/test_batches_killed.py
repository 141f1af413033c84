"""A batch of a server that is killed goes on in another one, and no line that has a result is run again."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest
from openai import OpenAI

from support.batch_files import chat_line, create, results, texts, wait_for
from support.batch_server import LIMIT_S, BatchServer, running

NUM_LINES, HOLD_AT = 60, 20
TEXTS = {f"id {number}": f"text {number}" for number in range(NUM_LINES)}


def client(server: BatchServer) -> OpenAI:
    return OpenAI(base_url=f"{server.root}/v1", api_key="none", max_retries=0, timeout=LIMIT_S)


def num_recorded(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "crossette.db")) as connection:
        (number,) = connection.execute("SELECT completed FROM batches").fetchone()
        return int(number)


def wait_until_it_holds(folder: Path) -> None:
    """Wait until all lines but those that the engine holds are recorded."""
    give_up = monotonic() + LIMIT_S
    while num_recorded(folder) < HOLD_AT - 4:
        assert monotonic() < give_up
        sleep(0.02)


@pytest.mark.parametrize("signal_sent", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "shut down"])
def test_a_batch_goes_on_in_the_next_server(tmp_path: Path, signal_sent: signal.Signals) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with running(tmp_path, first, hold_at=HOLD_AT) as server, client(server) as sdk:
        batch = create(sdk, [chat_line(name, text) for name, text in TEXTS.items()])
        wait_until_it_holds(tmp_path)
        server.process.send_signal(signal_sent)
        server.process.wait(LIMIT_S)
    recorded = num_recorded(tmp_path)
    assert HOLD_AT - 4 <= recorded < NUM_LINES

    with running(tmp_path, second) as server, client(server) as sdk:
        done = wait_for(sdk, batch.id, limit_s=LIMIT_S)
        answers = results(sdk, done.output_file_id)

    assert done.status == "completed"
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed) == (NUM_LINES, NUM_LINES)
    assert list(texts(answers).items()) == list(TEXTS.items())
    again = second.read_text().splitlines()
    assert len(again) == len(set(again)) == NUM_LINES - recorded
    assert set(first.read_text().splitlines()) | set(again) == set(TEXTS.values())


def test_another_server_on_the_database_takes_over_while_it_runs(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with running(tmp_path, first, hold_at=HOLD_AT) as killed, client(killed) as sdk:
        batch = create(sdk, [chat_line(name, text) for name, text in TEXTS.items()])
        wait_until_it_holds(tmp_path)
        with running(tmp_path, second) as other, client(other) as other_sdk:
            killed.process.send_signal(signal.SIGKILL)
            done = wait_for(other_sdk, batch.id, limit_s=LIMIT_S)
            answers = texts(results(other_sdk, done.output_file_id))

    assert answers == TEXTS
    assert len(second.read_text().splitlines()) <= NUM_LINES - (HOLD_AT - 4)
