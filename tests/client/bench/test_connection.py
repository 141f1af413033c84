from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing

import pytest

from crossette.client.bench.connection import Connection, ConnectionFailed
from crossette.client.bench.options import Address

OK = b"HTTP/1.1 200 OK\r\n"


def fetch(answer: bytes, times: int = 1) -> Sequence[bytes]:
    """Fetch from a server that sends this response to the first request of a connection, and then closes it."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async def exchange() -> Sequence[bytes]:
        async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with closing(Connection(Address.parse(f"http://127.0.0.1:{port}/v1"), {})) as connection:
                return [await (await connection.request("GET", "/models")).read() for _ in range(times)]

    return asyncio.run(exchange())


def test_a_reused_connection_that_the_server_has_closed_is_reopened() -> None:
    assert fetch(OK + b"content-length: 2\r\n\r\nHi", times=3) == [b"Hi"] * 3


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    assert fetch(OK + b"\r\nHi", times=2) == [b"Hi"] * 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "without a response"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (OK + b"content-length: 9\r\n\r\nHi", "7 bytes before the end"),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nHi", "before the last chunk"),
        (OK + b"transfer-encoding: chunked\r\n\r\nHi\r\n", "is incomplete"),
    ],
)
def test_a_response_that_is_incomplete_or_not_http_is_a_failed_connection(answer: bytes, message: str) -> None:
    with pytest.raises(ConnectionFailed, match=message):
        fetch(answer)


def test_an_ipv6_address_and_a_default_port_are_parsed_from_the_url() -> None:
    address = Address.parse("https://user@[::1]/inference/v1/")

    assert (address.host, address.port, address.tls) == ("::1", 443, True)
    assert (address.authority, address.path) == ("[::1]", "/inference/v1")
