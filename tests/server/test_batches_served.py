"""A batch in `crossette serve`, with the real model and the settings of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from crossette.accounts.database.database import Database
from crossette.accounts.database.files import DatabaseFiles
from crossette.accounts.files import PageQuery
from crossette.accounts.open import open_accounts
from crossette.accounts.settings import AccountSettings, FileSettings
from crossette.errors import ConfigError
from crossette.models.store import StoredModel
from server.test_serve import LIMIT_S, Served, serving
from support.batch_files import CHAT, create, results, texts, wait_for

QUESTIONS = {"france": "Name the capital of France.", "math": "What is 2 + 2?"}


@pytest.fixture(scope="module")
def served(real_model: StoredModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    url = f"sqlite:///{tmp_path_factory.mktemp('served')}/crossette.db"
    with serving(real_model, "--store-files", "2h", "--database-url", url, "--max-file-bytes", "5000") as running:
        yield running


def body(served: Served, question: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": served.model, "messages": messages, "temperature": 0, "max_tokens": 12}


def test_a_batch_has_the_answers_of_live_requests(served: Served) -> None:
    with OpenAI(base_url=f"{served.root}/v1", api_key="none", max_retries=0, timeout=LIMIT_S) as sdk:
        lines = [
            {"custom_id": name, "method": "POST", "url": CHAT, "body": body(served, question)}
            for name, question in QUESTIONS.items()
        ]
        done = wait_for(sdk, create(sdk, lines).id, limit_s=LIMIT_S)
        found = texts(results(sdk, done.output_file_id))
        live = {
            name: sdk.chat.completions.create(**body(served, question)).choices[0].message.content
            for name, question in QUESTIONS.items()
        }
        file = sdk.files.retrieve(done.input_file_id)

    assert (done.status, found) == ("completed", live)
    assert "Paris" in found["france"]
    assert file.expires_at == file.created_at + 7200


@pytest.mark.parametrize("given", ["soon", "0h", "9999d"])
def test_an_invalid_duration_is_a_config_error(given: str, tmp_path: Path) -> None:
    settings = AccountSettings(database_url=f"sqlite:///{tmp_path}/crossette.db")

    with pytest.raises(ConfigError, match="--store-files"), open_accounts(settings, FileSettings(store_files=given)):
        raise AssertionError


def test_a_server_without_files_deletes_what_has_expired(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/crossette.db"
    database = Database(url)
    database.migrate()
    past = datetime.now(UTC) - timedelta(days=2)
    files = DatabaseFiles(database, timedelta(days=1), lambda: past)
    stored = files.create("", purpose="batch", filename="f", parts=[b"x"], keep=timedelta(hours=1))

    with open_accounts(AccountSettings(database_url=url)) as accounts:
        assert (accounts.files, accounts.batches) == (None, None)

    assert list(files.parts(stored.id)) == []
    assert files.list("", PageQuery(5)).records == []
    database.close()
