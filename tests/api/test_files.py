"""/files over a real socket, with the SDK."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import openai
import pytest
from openai.types import FileObject

from crossette.accounts.access import Caller
from support.api_server import DIALECTS, PREFIXES, ApiServer, serving, strictly
from support.file_storage import storage
from support.key_clock import Clock

CALLERS = {"sk-a": Caller("key-a", "alice"), "sk-b": Caller("key-b", "bob")}
LINES = b'{"custom_id": "a"}\n{"custom_id": "b"}\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with (
        storage(tmp_path_factory.mktemp("files"), max_file_bytes=100_000) as kept,
        serving(storage=kept, callers=CALLERS) as running,
    ):
        yield running


def upload(server: ApiServer, prefix: str = "/v1", *, key: str = "none", **fields: str) -> httpx.Response:
    return server.http.post(
        server.url(f"{prefix}/files"),
        files={"file": ("in.jsonl", LINES)},
        data={"purpose": "batch", **fields},
        headers={"authorization": f"Bearer {key}"},
    )


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_file_is_uploaded_found_downloaded_and_deleted(server: ApiServer, prefix: str) -> None:
    sdk = server.sdk(prefix)
    file = sdk.files.create(file=("my folder/in.jsonl", LINES), purpose="batch")

    assert file.id.startswith("file-")
    assert (file.bytes, file.filename, file.purpose, file.status) == (len(LINES), "in.jsonl", "batch", "processed")
    assert sdk.files.retrieve(file.id) == file
    assert file in list(sdk.files.list(purpose="batch"))
    assert sdk.files.content(file.id).content == LINES
    assert sdk.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match=file.id):
        sdk.files.retrieve(file.id)


def test_a_file_is_an_object_of_the_sdk(server: ApiServer) -> None:
    assert strictly(FileObject, upload(server).json()) == set()


def test_a_download_is_bytes_that_no_browser_shows(server: ApiServer) -> None:
    answer = server.get(f"/v1/files/{upload(server).json()['id']}/content")

    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_files_of_another_key_are_not_found(server: ApiServer) -> None:
    mine = upload(server, key="sk-a").json()["id"]
    theirs = {"authorization": "Bearer sk-b"}

    for path in ("", "/content"):
        assert server.get(f"/v1/files/{mine}{path}", theirs).status_code == 404
    assert server.http.delete(server.url(f"/v1/files/{mine}"), headers=theirs).status_code == 404
    assert server.get("/v1/files", theirs).json()["data"] == []
    assert server.get(f"/v1/files/{mine}", {"authorization": "Bearer sk-a"}).status_code == 200


def test_strangers_without_a_key_share_no_files(tmp_path: Path) -> None:
    with storage(tmp_path) as kept, serving(storage=kept, callers={"none": Caller("", "anonymous")}) as server:
        assert upload(server).status_code == 403
        for path in ("/v1/files", "/v1/batches", "/inference/v1/files/file-1/content"):
            assert server.get(path, {"authorization": "Bearer none"}).status_code == 403


def test_a_list_has_pages(tmp_path: Path) -> None:
    with storage(tmp_path) as kept, serving(storage=kept) as server:
        ids = [upload(server).json()["id"] for _ in range(5)]
        sdk = server.sdk("/v1")

        assert [file.id for file in sdk.files.list(limit=2)] == ids[::-1]
        assert [file.id for file in sdk.files.list(limit=2, order="asc")] == ids
        first = server.get("/v1/files?limit=2&order=asc").json()
        assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[0], ids[1], True)


def test_a_file_expires_when_its_upload_says_so(tmp_path: Path) -> None:
    clock = Clock()
    with storage(tmp_path, clock=clock) as kept, serving(storage=kept) as server:
        file = server.sdk("/v1").files.create(
            file=("in.jsonl", LINES), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert file.expires_at == file.created_at + 3600

        clock.now += timedelta(hours=1)

        assert server.get(f"/v1/files/{file.id}").status_code == 404


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("fields", "param", "part"),
    [
        ({"purpose": "vision"}, "purpose", "purpose 'vision'"),
        ({"purpose": "nonsense"}, "purpose", "not 'nonsense'"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds", "Field required"),
        ({"expires_after[seconds]": "3600"}, "expires_after.anchor", "created_at"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "10"}, "expires_after.seconds", "3600 to"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "1e9"}, "expires_after.seconds", "integer"),
        ({"other": "x"}, "other", "Unknown field"),
    ],
)
def test_an_invalid_upload_is_a_400(
    server: ApiServer, prefix: str, fields: dict[str, str], param: str, part: str
) -> None:
    answer = upload(server, prefix, **fields)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert part in error["message"]


def test_a_form_without_a_file_or_with_a_broken_body_is_a_400(server: ApiServer) -> None:
    url, form = server.url("/v1/files"), {"content-type": "multipart/form-data; boundary=x"}

    without = server.http.post(url, files={"purpose": (None, "batch")})
    assert (without.status_code, without.json()["error"]["param"]) == (400, "file")
    as_text = server.http.post(url, files={"purpose": (None, "batch"), "file": (None, "text")})
    assert "with a filename" in as_text.json()["error"]["message"]
    twice = server.http.post(url, files=[("file", ("a", b"1")), ("purpose", (None, "batch")), ("purpose", (None, "b"))])
    assert "sent twice" in twice.json()["error"]["message"]
    two = server.http.post(url, files=[("file", ("a", b"1")), ("file", ("b", b"2")), ("purpose", (None, "batch"))])
    for broken in (two, *(server.http.post(url, content=raw, headers=form) for raw in (b"nonsense", b"--x\r\n", b""))):
        assert broken.status_code == 400, broken.text
    for answer in (server.post("/v1/files", {"purpose": "batch"}), server.http.post(url)):
        assert "multipart/form-data" in answer.json()["error"]["message"]


def test_a_file_beyond_the_limit_is_a_413(server: ApiServer) -> None:
    for size in (100_001, 1_000_000):
        answer = server.http.post(
            server.url("/v1/files"), files={"file": ("in.jsonl", b"x" * size)}, data={"purpose": "batch"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, DIALECTS["/v1"].errors["too_large"][1])


def test_all_files_together_have_a_limit(tmp_path: Path) -> None:
    with storage(tmp_path, max_stored_bytes=2 * len(LINES)) as kept, serving(storage=kept) as server:
        assert [upload(server).status_code for _ in range(3)] == [200, 200, 413]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_server_that_stores_no_files_names_the_setting(prefix: str) -> None:
    with serving() as server:
        for answer in (upload(server, prefix), server.get(f"{prefix}/files"), server.get(f"{prefix}/files/x/content")):
            assert answer.status_code == 400
            assert "store_files" in answer.json()["error"]["message"]


def test_a_query_with_an_unknown_or_invalid_value_is_a_400(server: ApiServer) -> None:
    for query in ("limit=0", "limit=x", "order=up", "purpose=mine", "page=2"):
        answer = server.get(f"/v1/files?{query}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.partition("=")[0])
    assert server.get("/v1/files?after=file-none").status_code == 404


def test_a_wrong_method_lists_all_of_a_path(server: ApiServer) -> None:
    answer = server.http.put(server.url("/v1/files"))

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
