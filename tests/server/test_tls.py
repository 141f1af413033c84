"""HTTPS with a generated certificate, and errors for unusable certificates."""

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
    """A server, a client that trusts the test's authority only, and the server's root URL.

    The client closes before the server stops: the closing handshake of TLS needs the event loop.
    """
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with serving(tls=files) as api, httpx.Client(verify=context, timeout=LIMIT_S) as client:
        yield client, api.root.replace("http:", "https:")


@pytest.mark.slow
def test_responses_and_streams_work_over_https(files: TlsSettings, authority: trustme.CA) -> None:
    check_tls(files)
    with serving_https(files, authority) as (client, root):
        for prefix in PREFIXES:
            whole = client.post(f"{root}{prefix}/completions", json=BODY)
            stream = client.post(f"{root}{prefix}/completions", json=BODY | {"stream": True})
            streamed = "".join(choice["text"] for chunk in events(stream.content) for choice in chunk["choices"])
            assert (whole.json()["choices"][0]["text"], streamed) == ("Hello", "Hello")


@pytest.mark.slow
def test_the_servers_own_origin_is_allowed_over_https_too(files: TlsSettings, authority: trustme.CA) -> None:
    with serving_https(files, authority) as (client, root):
        assert client.post(f"{root}/v1/completions", json=BODY, headers={"origin": root}).status_code == 200


@pytest.mark.slow
def test_plain_http_is_disconnected_and_other_clients_are_not(files: TlsSettings, authority: trustme.CA) -> None:
    with serving_https(files, authority) as (client, root):
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            httpx.get(root.replace("https:", "http:"), timeout=LIMIT_S)
        assert client.get(f"{root}/v1/models").status_code == 200


@pytest.mark.slow
def test_a_disconnect_over_https_frees_all_blocks(files: TlsSettings, authority: trustme.CA) -> None:
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
def test_one_file_without_the_other_is_rejected(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="give both --tls-cert and --tls-key"):
        check_tls(TlsSettings(**given))


@pytest.fixture
def wrong(files: TlsSettings, tmp_path: Path) -> dict[str, str]:
    """Files by their fault, and the valid ones as `cert` and `key`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    assert files.tls_cert is not None
    assert files.tls_key is not None
    paths = {"cert": files.tls_cert, "key": files.tls_key, "missing": str(tmp_path / "nowhere.pem")}
    contents = {
        "nonsense": b"no certificate",
        "binary": bytes(range(256)),
        "corrupt": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "of-another": trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes(),
    }
    for name, content in contents.items():
        paths[name] = str(tmp_path / f"{name}.pem")
        Path(paths[name]).write_bytes(content)
    for name, kind in (("locked", []), ("locked-in-the-old-form", ["-traditional"])):
        paths[name] = str(tmp_path / f"{name}.pem")
        options = [*kind, "-aes256", "-passout", "pass:secret"]
        subprocess.run(
            ["openssl", "pkey", "-in", files.tls_key, "-out", paths[name], *options], check=True, timeout=LIMIT_S
        )
    return paths


@pytest.mark.parametrize(
    ("cert", "key", "reason"),
    [
        ("missing", "key", "missing cannot be read: No such file or directory."),
        ("cert", "missing", "missing cannot be read: No such file or directory."),
        ("nonsense", "key", "nonsense contains no PEM certificate, which begins with -----BEGIN CERTIFICATE-----."),
        ("binary", "key", "binary contains no PEM certificate"),
        ("key", "cert", "they are swapped: the certificate is in --tls-key and the key in --tls-cert."),
        ("key", "key", "key contains no PEM certificate"),
        ("cert", "nonsense", "nonsense contains no PEM private key"),
        ("cert", "cert", "cert contains no PEM private key"),
        ("cert", "locked", "the key has a password. Remove it: openssl pkey -in locked -out NEW.pem"),
        ("cert", "locked-in-the-old-form", "the key has a password."),
        ("cert", "of-another", "the key does not match the certificate"),
        ("corrupt", "key", "the PEM data of one of them is corrupt."),
    ],
)
def test_the_error_for_unusable_files_has_the_reason(wrong: dict[str, str], cert: str, key: str, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_tls(TlsSettings(wrong[cert], wrong[key]))

    for name in (cert, key):
        reason = re.sub(rf"(?<![\w-]){name}(?= contains| cannot be read| -out)", wrong[name], reason)
    message = str(raised.value)
    assert message.startswith(f"Can't use --tls-cert {wrong[cert]} with --tls-key {wrong[key]}: {reason}")
    assert "_ssl.c" not in message
