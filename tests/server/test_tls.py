"""HTTPS with a certificate that is made for the test, and what is said of one that cannot be used."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from crossette.errors import ConfigError
from crossette.server.tls import TlsSettings, check_tls
from crossette.testing.fake_engine import FakeEngine
from support.api_server import LIMIT_S, PREFIXES, events, parrot, say, serving

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


@pytest.fixture
def wrong(files: TlsSettings, tmp_path: Path) -> dict[str, str]:
    """Files by what is wrong with them, and the right ones as `cert` and `key`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    assert files.tls_cert is not None
    assert files.tls_key is not None
    made = {"cert": files.tls_cert, "key": files.tls_key, "missing": str(tmp_path / "nowhere.pem")}
    contents = {
        "nonsense": b"no certificate",
        "binary": bytes(range(256)),
        "damaged": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "of-another": trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes(),
    }
    for name, content in contents.items():
        made[name] = str(tmp_path / f"{name}.pem")
        Path(made[name]).write_bytes(content)
    for name, kind in (("locked", []), ("locked-in-the-old-form", ["-traditional"])):
        made[name] = str(tmp_path / f"{name}.pem")
        options = [*kind, "-aes256", "-passout", "pass:secret"]
        subprocess.run(
            ["openssl", "pkey", "-in", files.tls_key, "-out", made[name], *options], check=True, timeout=LIMIT_S
        )
    return made


@pytest.mark.parametrize(
    ("cert", "key", "reason"),
    [
        ("missing", "key", "missing cannot be read: No such file or directory."),
        ("cert", "missing", "missing cannot be read: No such file or directory."),
        ("nonsense", "key", "nonsense holds no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----."),
        ("binary", "key", "binary holds no certificate in PEM"),
        ("key", "cert", "they are swapped: the certificate is in --tls-key, and the key in --tls-cert."),
        ("key", "key", "key holds no certificate in PEM"),
        ("cert", "nonsense", "nonsense holds no private key in PEM"),
        ("cert", "cert", "cert holds no private key in PEM"),
        ("cert", "locked", "the key has a password. Take it off: openssl pkey -in locked -out NEW.pem"),
        ("cert", "locked-in-the-old-form", "the key has a password."),
        ("cert", "of-another", "the key is not that of the certificate"),
        ("damaged", "key", "what follows the headings of one of them is damaged."),
    ],
)
def test_of_files_that_cannot_be_used_it_is_said_why(wrong: dict[str, str], cert: str, key: str, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_tls(TlsSettings(wrong[cert], wrong[key]))

    for name in (cert, key):
        reason = re.sub(rf"(?<![\w-]){name}(?= holds| cannot be read| -out)", wrong[name], reason)
    told = str(raised.value)
    assert told.startswith(f"Can't use --tls-cert {wrong[cert]} with --tls-key {wrong[key]}: {reason}")
    assert "_ssl.c" not in told
