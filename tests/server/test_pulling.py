"""Models are pulled over HTTP by admins: catalogue names and Hub references only, with progress, once at a time."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from crossette.accounts.access import Caller
from crossette.api.models import ServedModels
from crossette.errors import ModelError
from crossette.models.fetch import Progress
from crossette.models.store import StoredModel
from crossette.pool.model import ModelSource
from crossette.pool.pool import ModelPool
from crossette.server import pulling
from crossette.server.pulling import ModelPuller
from support.api_server import DIALECTS, LIMIT_S, ApiServer, cut_short, events, parrot, say, serving
from support.model_loads import Loads

NAME = "smollm2-135m-instruct"


class Downloads:
    """Downloads that wait until they may continue, and then fail with `fault` if there is one."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.removed: list[str] = []
        self.may_continue = threading.Event()
        self.fault: Exception | None = None
        self._loads = Loads(parrot)

    def pull(self, reference: str, show: Progress) -> StoredModel:
        self.asked.append(reference)
        show("Downloading", 10, 100)
        assert self.may_continue.wait(LIMIT_S)
        if self.fault is not None:
            raise self.fault
        stored: Any = SimpleNamespace(name=reference.rpartition("/")[2])
        return stored  # type: ignore[no-any-return]

    def source(self, stored: StoredModel) -> ModelSource:
        return dataclasses.replace(self._loads.source(stored.name), stored=stored.name)

    def remove(self, name: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.removed.append(name)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> Downloads:
    monkeypatch.setattr(pulling, "INTERVAL_S", 0.01)
    return Downloads()


@pytest.fixture
def api(downloads: Downloads) -> Iterator[ApiServer]:
    models = ServedModels(ModelPool([]))
    callers = {"admin": Caller("k1", "boss", is_admin=True), "user": Caller("k2", "user")}
    puller = ModelPuller(models, downloads.pull, downloads.source, downloads.remove)
    with serving(models=models, puller=puller, callers=callers) as server:
        yield server
        downloads.may_continue.set()


def post(api: ApiServer, prefix: str, body: object, key: str = "admin") -> httpx.Response:
    return api.post(f"{prefix}/models/pull", body, {"authorization": f"Bearer {key}"})


def until(condition: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(LIMIT_S * 200):
        if condition():
            return
        waiting.wait(0.005)
    raise AssertionError("the condition never became true")


@pytest.mark.parametrize("reference", [NAME, "hf:org/repo", "hf:org/repo@main:file.gguf"])
def test_a_pulled_model_is_served(api: ApiServer, prefix: str, downloads: Downloads, reference: str) -> None:
    downloads.may_continue.set()
    told = events(post(api, prefix, {"model": reference}).content)

    name = reference.rpartition("/")[2]
    assert told[-1] == {"status": "done", "model": name, "step": "", "completed": 0, "total": None}
    assert {event["status"] for event in told[:-1]} == {"pulling"}
    chat = api.post(f"{prefix}/completions", {"model": name, "prompt": say("Hello")}, {"authorization": "Bearer user"})
    assert chat.json()["choices"][0]["text"] == "Hello"
    assert downloads.asked == [reference]


def test_the_progress_is_sent_while_it_runs(api: ApiServer, prefix: str, downloads: Downloads) -> None:
    headers, body = {"authorization": "Bearer admin"}, {"model": NAME}
    with httpx.stream("POST", api.url(f"{prefix}/models/pull"), json=body, headers=headers, timeout=LIMIT_S) as stream:
        lines = stream.iter_lines()
        line = next(line for line in lines if '"completed":10,"total":100' in line)
        assert '"step":"Downloading"' in line
        downloads.may_continue.set()
        assert [line for line in lines if line][-1] == "data: [DONE]"


def test_without_a_stream_the_answer_is_the_last_event(api: ApiServer, prefix: str, downloads: Downloads) -> None:
    downloads.may_continue.set()

    assert post(api, prefix, {"model": NAME, "stream": False}).json()["status"] == "done"


def test_the_same_pull_is_followed_and_another_one_waits(api: ApiServer, prefix: str, downloads: Downloads) -> None:
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(post, api, prefix, {"model": NAME, "stream": False}) for _ in range(2)]
        until(lambda: bool(downloads.asked))
        other = post(api, prefix, {"model": "hf:org/repo"})
        downloads.may_continue.set()
        assert [answer.result().status_code for answer in both] == [200, 200]

    assert (other.status_code, other.json()["error"]["message"]) == (503, f"{NAME} is being pulled. Retry later.")
    assert downloads.asked == [NAME]


def test_a_disconnect_does_not_end_a_pull(api: ApiServer, prefix: str, downloads: Downloads) -> None:
    headers, body = {"authorization": "Bearer admin"}, {"model": NAME}
    with httpx.stream("POST", api.url(f"{prefix}/models/pull"), json=body, headers=headers, timeout=LIMIT_S) as stream:
        next(stream.iter_lines())
    downloads.may_continue.set()
    until(lambda: NAME in api.app.models.names())


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_names_its_reason(api: ApiServer, prefix: str, downloads: Downloads, stream: bool) -> None:
    downloads.fault = ModelError("the disk is full")
    downloads.may_continue.set()
    answer = post(api, prefix, {"model": NAME, "stream": stream})

    error = cut_short(answer.content)[-1]["error"] if stream else answer.json()["error"]
    assert error["message"] == f"{NAME} cannot be pulled: the disk is full"
    assert (error["type"], error["code"]) == DIALECTS[prefix].errors["pull_failed"]
    downloads.fault = None
    assert post(api, prefix, {"model": NAME, "stream": False}).status_code == 200


def test_a_malformed_reference_names_the_valid_forms(api: ApiServer, prefix: str, downloads: Downloads) -> None:
    for reference in ("hf:", "hf:org", "hf:../../etc", "hf:org/repo:../x.gguf", "hf:http://127.0.0.1/x"):
        answer = post(api, prefix, {"model": reference})

        assert (answer.status_code, "hf:ORG/REPO" in answer.json()["error"]["message"]) == (400, True)
    assert downloads.asked == []


@pytest.mark.parametrize(
    "reference",
    [
        *("/etc/passwd", "./model.gguf", "~/model.gguf", "C:\\model.gguf", "file:///etc/passwd", ".", ""),
        *("http://127.0.0.1:8000/x.gguf", "http://169.254.169.254/latest", "https://huggingface.co/org/repo"),
        *("ftp://host/x", "s3://bucket/x", "org/repo", "HF:org/repo", " hf:org/repo", "\x00"),
    ],
)
def test_paths_and_addresses_are_never_pulled(
    api: ApiServer, prefix: str, downloads: Downloads, reference: str
) -> None:
    answer = post(api, prefix, {"model": reference})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "model")
    assert NAME in error["message"]
    assert downloads.asked == []


def test_whether_a_file_exists_is_not_told(api: ApiServer, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "here.gguf").write_bytes(b"GGUF")
    here, missing = (post(api, prefix, {"model": str(tmp_path / name)}).content for name in ("here.gguf", "no.gguf"))

    assert here.partition(b"request_id")[0] == missing.partition(b"request_id")[0]


def test_only_admins_pull(api: ApiServer, prefix: str, downloads: Downloads) -> None:
    assert post(api, prefix, {"model": NAME}, "user").status_code == 403
    assert post(api, prefix, {"model": NAME, "insecure": True}).status_code == 400
    assert downloads.asked == []


def delete(api: ApiServer, prefix: str, name: str, key: str = "admin") -> httpx.Response:
    return api.http.delete(api.url(f"{prefix}/models/{name}"), headers={"authorization": f"Bearer {key}"})


def test_a_removed_model_is_served_no_longer_and_its_files_are_deleted(
    api: ApiServer, prefix: str, downloads: Downloads
) -> None:
    downloads.may_continue.set()
    post(api, prefix, {"model": NAME, "stream": False})
    api.post(f"{prefix}/completions", {"model": NAME, "prompt": say("a")}, {"authorization": "Bearer user"})

    removed = delete(api, prefix, NAME)

    assert (removed.status_code, removed.json()) == (200, {"id": NAME, "object": "model", "deleted": True})
    assert downloads.removed == [NAME]
    assert api.get(f"{prefix}/models").json()["data"] == []
    assert delete(api, prefix, NAME).status_code == 404
    post(api, prefix, {"model": NAME, "stream": False})
    assert [entry["id"] for entry in api.get(f"{prefix}/models").json()["data"]] == [NAME]


def test_only_an_admin_removes_models(api: ApiServer, prefix: str, downloads: Downloads) -> None:
    downloads.may_continue.set()
    post(api, prefix, {"model": NAME, "stream": False})

    assert delete(api, prefix, NAME, "user").status_code == 403
    assert downloads.removed == []


def test_a_model_whose_files_are_not_in_the_store_is_not_removed(prefix: str) -> None:
    with serving() as server:
        refused = delete(server, prefix, "fake")

    assert refused.status_code == 400
    assert "its files are not in the store" in refused.json()["error"]["message"]


def test_files_of_another_served_model_are_kept(prefix: str, downloads: Downloads) -> None:
    sources = [dataclasses.replace(downloads.source(SimpleNamespace(name=name)), stored="one") for name in ("a", "b")]  # type: ignore[arg-type]
    models = ServedModels(ModelPool(sources))
    puller = ModelPuller(models, downloads.pull, downloads.source, downloads.remove)
    with serving(models=models, puller=puller) as server:
        refused = delete(server, prefix, "a")

    assert refused.status_code == 409
    assert "those of 'b'" in refused.json()["error"]["message"]


def test_files_that_cannot_be_deleted_are_an_error(api: ApiServer, prefix: str, downloads: Downloads) -> None:
    downloads.may_continue.set()
    post(api, prefix, {"model": NAME, "stream": False})
    downloads.fault = ModelError("The disk is read-only.")

    answer = delete(api, prefix, NAME)

    assert "The disk is read-only." in answer.json()["error"]["message"]
    assert answer.status_code == 502


def test_what_admins_do_with_models_is_logged_without_a_secret(
    api: ApiServer, prefix: str, downloads: Downloads, caplog: pytest.LogCaptureFixture
) -> None:
    downloads.may_continue.set()
    headers = {"authorization": "Bearer admin"}
    with caplog.at_level(logging.INFO):
        post(api, prefix, {"model": NAME, "stream": False})
        for action in ("load", "unload"):
            assert api.post(f"{prefix}/models/{NAME}/{action}", {}, headers).status_code == 200
        assert delete(api, prefix, NAME).status_code == 200

    audited = ("crossette.api.pull", "crossette.api.model_load", "crossette.api.model_removal")
    assert [record.getMessage() for record in caplog.records if record.name in audited] == [
        f"The pull of '{NAME}' was requested by k1 (boss)",
        f"The load of {NAME} was requested by k1 (boss)",
        f"The unload of {NAME} was requested by k1 (boss)",
        f"The model {NAME} was removed by k1 (boss)",
    ]
    assert "Bearer" not in caplog.text
