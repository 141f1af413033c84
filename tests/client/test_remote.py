"""Remote servers of the client commands: URL, key, certificate and connection errors."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from crossette.cli import main as cli
from crossette.client.bench import BenchOptions, run_bench
from crossette.client.bench.connection import Connection, ConnectionFailed
from crossette.client.bench.options import Address
from crossette.client.chat import RemoteChat, ReplyFailed
from crossette.client.remote import ServerURL, error_text
from crossette.client.status.scrape import MetricsPage, StatusFailed
from crossette.errors import ConfigError, CrossetteError
from crossette.server.tls import TlsSettings, check_tls
from support.api_server import ApiServer, serving
from support.sse_server import serving as serving_script

SECURITY = Path(__file__).parents[2] / "docs/security.md"

# --- URLs ---


@pytest.mark.parametrize(
    ("url", "root", "base"),
    [
        ("http://a:8000", "http://a:8000", "http://a:8000/v1"),
        ("http://a:8000/", "http://a:8000", "http://a:8000/v1"),
        ("http://a:8000/v1/", "http://a:8000", "http://a:8000/v1"),
        ("http://a:8000/inference/v1", "http://a:8000", "http://a:8000/inference/v1"),
        ("http://a:8000/inference", "http://a:8000", "http://a:8000/inference/v1"),
        ("a:8000", "http://a:8000", "http://a:8000/v1"),
        ("https://[::1]", "https://[::1]", "https://[::1]/v1"),
        ("https://proxy/llm/v1", "https://proxy/llm", "https://proxy/llm/v1"),
        ("https://other/openai/v2", "https://other/openai/v2", "https://other/openai/v2"),
    ],
)
def test_a_url_is_that_of_the_server_or_of_its_api(url: str, root: str, base: str) -> None:
    assert ServerURL.parse(url) == ServerURL(root, base)


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://a:port", "http://[::1", "http://a/v1?key=1"])
def test_an_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(ConfigError, match="--url must be the URL of a server or its API"):
        ServerURL.parse(url)


def read_status(url: str) -> None:
    with closing(MetricsPage(url)) as page:
        page.read()


def say_hello(url: str) -> None:
    async def converse() -> str:
        client = RemoteChat(url)
        try:
            return "".join([text async for text in client.reply([{"role": "user", "content": "Hi"}])])
        finally:
            await client.aclose()

    assert asyncio.run(converse())


def run_load(url: str) -> None:
    report = run_bench(BenchOptions(url=url, concurrency=(1,), num_requests=1, max_tokens=2))
    assert report.levels[0].errors == {}


COMMANDS = pytest.mark.parametrize("use", [read_status, say_hello, run_load], ids=["status", "chat", "bench"])


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


@COMMANDS
@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/inference/v1"])
def test_each_command_accepts_the_root_and_both_base_urls(
    api: ApiServer, use: Callable[[str], None], path: str
) -> None:
    use(api.root + path)


# --- keys ---


@pytest.mark.slow
@pytest.mark.parametrize("command", [["chat"], ["bench", "-c", "1", "-n", "1"]])
def test_only_a_key_for_crossette_is_sent(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-somebodys")
    for given, sent in (({}, [None]), ({"CROSSETTE_API_KEY": "mine"}, ["Bearer mine"])):
        with serving_script() as server:
            CliRunner().invoke(cli.app, [*command, "--url", server.url], input="Hi", env=given)

        assert [*{headers.get("authorization") for headers in server.headers}] == sent


# --- certificates ---


def make_certificate(folder: Path) -> TlsSettings:
    """Create a certificate with the commands of the documentation."""
    (recipe,) = re.findall(r"^openssl req .*?(?=\n```|\ncrossette)", SECURITY.read_text(), re.MULTILINE | re.DOTALL)
    subprocess.run(recipe, shell=True, cwd=folder, check=True, capture_output=True, timeout=60)
    return TlsSettings(str(folder / "cert.pem"), str(folder / "key.pem"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsSettings:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def https(files: TlsSettings) -> Iterator[str]:
    check_tls(files)
    with serving(tls=files) as server:
        yield server.root.replace("http:", "https:")


@COMMANDS
def test_a_self_signed_certificate_is_trusted_with_ssl_cert_file(
    https: str, files: TlsSettings, monkeypatch: pytest.MonkeyPatch, use: Callable[[str], None]
) -> None:
    with pytest.raises(CrossetteError) as raised:
        use(https)
    assert "its certificate is not trusted (self-signed certificate). Set SSL_CERT_FILE" in str(raised.value)
    assert "running" not in str(raised.value)

    monkeypatch.setenv("SSL_CERT_FILE", str(files.tls_cert))
    use(https)


def test_the_documented_certificate_passes_the_strict_check_of_newer_pythons(https: str, files: TlsSettings) -> None:
    context = ssl.create_default_context(cafile=files.tls_cert)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    address = Address.parse(https)

    async def connect() -> None:
        _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
        writer.close()
        await writer.wait_closed()

    asyncio.run(connect())


@COMMANDS
def test_the_error_for_a_certificate_of_another_name_does_not_suggest_ssl_cert_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, use: Callable[[str], None]
) -> None:
    authority, cert, key = trustme.CA(), tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = authority.issue_cert("other.example")
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    with (
        serving(tls=TlsSettings(str(cert), str(key))) as server,
        pytest.raises(CrossetteError, match=r"not valid for '127\.0\.0\.1'") as raised,
    ):
        use(server.root.replace("http:", "https:"))
    assert "SSL_CERT_FILE" not in str(raised.value)


@COMMANDS
def test_the_error_for_https_to_an_http_server_does_not_ask_whether_it_is_running(
    api: ApiServer, use: Callable[[str], None]
) -> None:
    with pytest.raises(CrossetteError, match=r"Does the server support HTTPS, or is the URL http://\?"):
        use(api.root.replace("http:", "https:"))


@pytest.mark.parametrize("use", [read_status, say_hello], ids=["status", "chat"])
def test_a_missing_ssl_cert_file_is_an_error_of_one_sentence(
    monkeypatch: pytest.MonkeyPatch, use: Callable[[str], None]
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/cert.pem")

    with pytest.raises(ConfigError, match="SSL_CERT_FILE or SSL_CERT_DIR cannot be read"):
        use("https://127.0.0.1:1")


@pytest.mark.parametrize(
    ("use", "raised"), [(read_status, StatusFailed), (say_hello, ReplyFailed), (run_load, ConfigError)]
)
def test_the_error_for_an_unreachable_server_asks_whether_it_is_running(
    use: Callable[[str], None], raised: type[CrossetteError]
) -> None:
    with pytest.raises(raised, match=r"127\.0\.0\.1:1\b.*Is the server running\?"):
        use("http://127.0.0.1:1")


def test_the_cause_is_found_in_the_exception_chain(https: str) -> None:
    async def connect() -> None:
        with closing(Connection(Address.parse(https), {})) as connection:
            await connection.request("GET", "/v1/models")

    with pytest.raises(ConnectionFailed, match="not trusted"):
        asyncio.run(connect())


# --- errors of the server ---


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (json.dumps({"error": {"message": "No."}}).encode(), "No."),
        (json.dumps({"error": "No."}).encode(), "No."),
        (json.dumps({"detail": "No."}).encode(), "No."),
        (json.dumps(["No."]).encode(), '["No."]'),
        (b"<p>\n No.\n", "<p> No."),
        (b"", "no message"),
        (b"\x1b[31mNo.", r"\x1b[31mNo."),
        (b"[" * 100_000, "[" * 299 + "…"),
        (b"x" * 400, "x" * 299 + "…"),
    ],
)
def test_errors_of_any_server_have_a_message(body: bytes, message: str) -> None:
    assert error_text(body) == message
