"""Request bodies before they are JSON: content codings, byte order marks, and text that is not Unicode."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.api.content_coding import decompress
from crossette.errors import InvalidRequest, RequestTooLarge, UnsupportedCoding
from support.api_server import DIALECTS, ApiServer, say, serving

LIMIT = 100_000
BODY = json.dumps({"model": "fake", "prompt": say("Hello"), "max_tokens": 50}).encode()


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without a header": ("Deflate", raw_deflate),
    "identity": ("identity", bytes),
}


def post(api: ApiServer, prefix: str, body: bytes, coding: str) -> httpx.Response:
    return api.post(f"{prefix}/completions", body, {"content-encoding": coding})


def error_of(answer: httpx.Response) -> tuple[int, str | None, str]:
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


# --- content codings ---


@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_body_is_decompressed(api: ApiServer, prefix: str, coding: str) -> None:
    name, compress = CODINGS[coding]
    answer = post(api, prefix, compress(BODY), name)

    assert answer.json()["choices"][0]["text"] == "Hello"


@given(st.binary(max_size=3000))
@pytest.mark.parametrize("coding", CODINGS)
def test_decompression_restores_any_body(coding: str, body: bytes) -> None:
    name, compress = CODINGS[coding]

    assert decompress(compress(body), name.lower(), 3000) == body


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["gzip", "deflate", "deflate without a header"])
def test_a_decompressed_body_has_the_same_limit(prefix: str, coding: str) -> None:
    name, compress = CODINGS[coding]
    with serving(max_body_bytes=LIMIT) as api:
        for size, status in ((LIMIT, 200), (LIMIT + 1, 413), (1000 * LIMIT, 413)):
            body = BODY + b" " * (size - len(BODY))
            assert post(api, prefix, compress(body), name).status_code == status


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["gzip", "deflate", "deflate without a header"])
def test_a_small_body_that_decompresses_to_a_large_one_is_not_decompressed_whole(coding: str) -> None:
    name, compress = CODINGS[coding]
    bomb = compress(bytes(50 * 2**20))
    assert len(bomb) < LIMIT

    with pytest.raises(RequestTooLarge, match="more than 1000 bytes"):
        decompress(bomb, name.lower(), 1000)


@pytest.mark.parametrize("num_members", [2, 3, 64])
def test_the_members_of_a_gzip_body_are_one_body(api: ApiServer, prefix: str, num_members: int) -> None:
    ends = [len(BODY) * number // num_members for number in range(num_members + 1)]
    members = b"".join(gzip.compress(BODY[start:end], mtime=0) for start, end in pairwise(ends))

    assert post(api, prefix, members, "gzip").status_code == 200
    with pytest.raises(RequestTooLarge):
        decompress(members, "gzip", len(BODY) - 1)


@pytest.mark.parametrize(
    ("body", "coding", "text"),
    [
        (BODY, "gzip", "not valid gzip"),
        (BODY, "deflate", "not valid deflate"),
        (zlib.compress(BODY), "gzip", "not valid gzip"),
        (gzip.compress(BODY, mtime=0)[:-1], "gzip", "incomplete"),
        (zlib.compress(BODY)[:-5], "deflate", "incomplete"),
        (gzip.compress(BODY, mtime=0) + b"more", "gzip", "4 bytes follow"),
        (gzip.compress(b"", mtime=0) * 64 + gzip.compress(BODY, mtime=0), "gzip", "bytes follow"),
        (zlib.compress(BODY) + gzip.compress(BODY, mtime=0), "deflate", "bytes follow"),
        (gzip.compress(BODY[:9], mtime=0) + gzip.compress(BODY[9:], mtime=0)[:-1], "gzip", "incomplete"),
        (b"", "gzip", "incomplete"),
    ],
    ids=[
        "plain",
        "plain, deflate",
        "zlib",
        "cut",
        "cut, deflate",
        "more",
        "members",
        "mixed",
        "cut member",
        "empty",
    ],  # gzip has the time in it
)
def test_an_invalid_compressed_body_is_a_400(api: ApiServer, prefix: str, body: bytes, coding: str, text: str) -> None:
    status, param, message = error_of(post(api, prefix, body, coding))

    assert (status, param) == (400, None)
    assert text in message


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "deflate, gzip", "compress", "x" * 1000])
def test_an_unsupported_coding_is_a_415_that_lists_the_supported_ones(api: ApiServer, prefix: str, coding: str) -> None:
    answer = post(api, prefix, BODY, coding)

    error = answer.json()["error"]
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip, deflate")
    assert (error["type"], error["code"]) == DIALECTS[prefix].errors["unsupported_coding"]
    assert repr(coding[:40]) in error["message"]


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "x"]), st.integers(1, 100))
def test_any_bytes_are_decompressed_or_rejected(body: bytes, coding: str, limit: int) -> None:
    with suppress(InvalidRequest, RequestTooLarge, UnsupportedCoding):
        assert len(decompress(body, coding, limit)) <= limit


# --- text ---


@pytest.mark.parametrize("endpoint", ["completions", "chat/completions"])
def test_a_byte_order_mark_is_skipped(api: ApiServer, prefix: str, endpoint: str) -> None:
    messages = [{"role": "user", "content": say("Hello")}]
    body = BODY if endpoint == "completions" else json.dumps({"model": "fake", "messages": messages}).encode()

    assert api.post(f"{prefix}/{endpoint}", b"\xef\xbb\xbf" + body).status_code == 200
    assert api.post(f"{prefix}/{endpoint}", b"\xef\xbb\xbf" * 2 + body).status_code == 400


CHAT = {"model": "fake", "messages": [{"role": "user", "content": "a"}]}


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"model": "a \ud83d"}, "model"),
        ({"messages": [{"role": "user", "content": "a \ud83d"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a \ud83d b"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "\udc00"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "\ud83d\n"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "\ud83d\ud83d\ude00"}]}, "messages[0].content"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "😀"}, {"type": "text", "text": "\ud83d"}]}
                ]
            },
            "messages[0].content[1].text",
        ),
        ({"metadata": {"a": "\ud83d"}}, "metadata.a"),
        ({"stop": ["a", "\ud83d"]}, "stop[1]"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"const": "\ud83d"}}},
            "response_format.json_schema.const",
        ),
        ({"metadata": {"\ud83d": "a"}}, "metadata"),
        ({"\ud83d": "a"}, None),
    ],
)
def test_half_of_a_surrogate_pair_is_named_with_its_place(
    api: ApiServer, prefix: str, sent: dict[str, Any], param: str | None
) -> None:
    answer = api.post(f"{prefix}/chat/completions", json.dumps(CHAT | sent).encode())

    status, path, message = error_of(answer)
    assert (status, path) == (400, param)
    assert "half of a surrogate pair" in message
    assert "\\ud83d" in message or "\\udc00" in message


def test_a_whole_surrogate_pair_is_one_character(api: ApiServer, prefix: str) -> None:
    body = json.dumps({"model": "fake", "prompt": say("😀"), "max_tokens": 50}, ensure_ascii=True)
    assert "\\ud83d\\ude00" in body

    assert api.post(f"{prefix}/completions", body.encode()).json()["choices"][0]["text"] == "😀"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "The body is empty."),
        (b" \r\n", "The body is empty."),
        (b"\xef\xbb\xbf", "The body is empty."),
        (b"[]", "The body is a JSON list."),
        (b'[{"model": "fake"}]', "The body is a JSON list."),
        (b"null", "The body is a JSON null."),
        (b'"text"', "The body is a JSON string."),
        (b"5", "The body is a JSON integer."),
        (b"5.5", "The body is a JSON number."),
        (b"true", "The body is a JSON boolean."),
        ("{}".encode("utf-16"), "The body is UTF-16"),
        ("{ }".encode("utf-16-be"), "The body is UTF-16"),
        ('{"a": 1}'.encode("utf-16-le"), "The body is UTF-16"),
        ("{}".encode("utf-32"), "The body is UTF-32"),
        ("{}".encode("utf-32-be"), "The body is UTF-32"),
        (gzip.compress(b"{}", mtime=0), "The body is compressed. Send the header content-encoding: gzip"),
        (b'{"model": "a\xff"}', "The body is not valid UTF-8: byte 0xff at position 12."),
        (b'{"model": "\xed\xa0\xbd"}', "The body is not valid UTF-8: byte 0xed at position 11."),
        (b'{"model": ', "The body is not valid JSON: "),
        (b"model=fake", "The body is not valid JSON: "),
    ],
)
@pytest.mark.parametrize("endpoint", ["completions", "chat/completions"])
def test_a_body_that_is_no_json_object_has_a_message_of_its_own(
    api: ApiServer, prefix: str, endpoint: str, body: bytes, text: str
) -> None:
    status, param, message = error_of(api.post(f"{prefix}/{endpoint}", body))

    assert (status, param) == (400, None)
    assert message.startswith(text)
