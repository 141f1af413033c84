"""HTTPS with a certificate that is made for the test, and what is said of one that cannot be used."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from api_server import LIMIT_S, PREFIXES, events, parrot, say, serving
from crossette.engines.fake import FakeEngine
from crossette.errors import ConfigError
from crossette.tls import TlsSettings, check_tls

BODY = {"model": "fake", "prompt": say("Hello"), "max_tokens": 50}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> TlsSettings:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return TlsSettings(str(cert), str(key))


@contextmanager
def serving_https(files: TlsSettings, authority: trustme.CA) -> Iterator[tuple[httpx.Client, str]]:
    """A server, a client that trusts the test's authority and nobody else, and the server's root.

    The client closes before the server stops: TLS connections have a farewell, for which no loop would be left.
    """
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with serving(tls=files) as api, httpx.Client(verify=context, timeout=LIMIT_S) as client:
        yield client, api.root.replace("http:", "https:")


def test_whole_answers_and_streams_come_over_https(files: TlsSettings, authority: trustme.CA) -> None:
    check_tls(files)
    with serving_https(files, authority) as (client, root):
        for prefix in PREFIXES:
            whole = client.post(f"{root}{prefix}/completions", json=BODY)
            stream = client.post(f"{root}{prefix}/completions", json=BODY | {"stream": True})
            told = "".join(choice["text"] for chunk in events(stream.content) for choice in chunk["choices"])
            assert (whole.json()["choices"][0]["text"], told) == ("Hello", "Hello")


def test_a_page_of_the_server_itself_may_ask_over_https_too(files: TlsSettings, authority: trustme.CA) -> None:
    with serving_https(files, authority) as (client, root):
        assert client.post(f"{root}/v1/completions", json=BODY, headers={"origin": root}).status_code == 200


def test_who_speaks_plain_http_is_cut_off_and_nobody_else(files: TlsSettings, authority: trustme.CA) -> None:
    with serving_https(files, authority) as (client, root):
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            httpx.get(root.replace("https:", "http:"), timeout=LIMIT_S)
        assert client.get(f"{root}/v1/models").status_code == 200


def test_hanging_up_on_https_frees_every_block(files: TlsSettings, authority: trustme.CA) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with serving(engine, tls=files) as api:
        connection = context.wrap_socket(api.connect(), server_hostname="127.0.0.1")
        content = json.dumps(BODY | {"stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        engine.wait_for(lambda stats: stats.waiting == 1)
        connection.close()
        api.wait_until_idle()
    assert engine.stats().steps == 0


def test_without_files_it_is_http(files: TlsSettings) -> None:
    check_tls(TlsSettings())

    assert (TlsSettings().scheme, files.scheme) == ("http", "https")


@pytest.mark.parametrize("given", [{"tls_cert": "cert.pem"}, {"tls_key": "key.pem"}])
def test_one_file_without_the_other_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="give both --tls-cert and --tls-key"):
        check_tls(TlsSettings(**given))


def test_files_that_cannot_be_used_are_one_sentence(files: TlsSettings, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes())
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")

    for settings in (
        TlsSettings(files.tls_cert, "/nowhere/key.pem"),
        TlsSettings(files.tls_cert, str(other)),
        TlsSettings(str(nonsense), files.tls_key),
    ):
        with pytest.raises(ConfigError, match=r"^Can't use --tls-cert .* with --tls-key "):
            check_tls(settings)
