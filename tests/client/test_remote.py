"""A server that a command asks: its address, its key, its certificate, and what is said where it is not reached."""

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
from crossette.client.remote import ServerURL, told
from crossette.client.status.scrape import MetricsPage, StatusFailed
from crossette.errors import ConfigError, CrossetteError
from crossette.server.tls import TlsSettings, check_tls
from support.api_server import ApiServer, serving
from support.sse_server import serving as serving_script

SECURITY = Path(__file__).parents[2] / "docs/security.md"

# --- where it is ---


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
def test_a_url_is_the_servers_or_its_apis(url: str, root: str, base: str) -> None:
    assert ServerURL.parse(url) == ServerURL(root, base)


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://a:port", "http://[::1", "http://a/v1?key=1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url must be a server or the base URL of its API"):
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


COMMANDS = pytest.mark.parametrize("ask", [read_status, say_hello, run_load], ids=["status", "chat", "bench"])


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


@COMMANDS
@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/inference/v1"])
def test_each_command_takes_the_root_and_either_base(api: ApiServer, ask: Callable[[str], None], path: str) -> None:
    ask(api.root + path)


# --- whose key it gets ---


@pytest.mark.parametrize("command", [["chat"], ["bench", "-c", "1", "-n", "1"]])
def test_only_a_key_that_is_meant_for_crossette_is_sent(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-somebodys")
    for given, sent in (({}, [None]), ({"CROSSETTE_API_KEY": "mine"}, ["Bearer mine"])):
        with serving_script() as server:
            CliRunner().invoke(cli.app, [*command, "--url", server.url], input="Hi", env=given)

        assert [*{headers.get("authorization") for headers in server.headers}] == sent


# --- whether it is to be trusted ---


def make_certificate(folder: Path) -> TlsSettings:
    """By the recipe of the documents."""
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
def test_a_certificate_that_one_made_is_trusted_where_it_is_named(
    https: str, files: TlsSettings, monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], None]
) -> None:
    with pytest.raises(CrossetteError) as refused:
        ask(https)
    assert "its certificate is not trusted (self-signed certificate). Set SSL_CERT_FILE" in str(refused.value)
    assert "running" not in str(refused.value)

    monkeypatch.setenv("SSL_CERT_FILE", str(files.tls_cert))
    ask(https)


def test_the_recipe_passes_the_strict_check_of_newer_pythons(https: str, files: TlsSettings) -> None:
    context = ssl.create_default_context(cafile=files.tls_cert)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    address = Address.parse(https)

    async def connect() -> None:
        _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
        writer.close()
        await writer.wait_closed()

    asyncio.run(connect())


@COMMANDS
def test_a_certificate_for_another_name_is_not_said_to_be_a_matter_of_trust(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: Callable[[str], None]
) -> None:
    authority, cert, key = trustme.CA(), tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = authority.issue_cert("other.example")
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    with (
        serving(tls=TlsSettings(str(cert), str(key))) as server,
        pytest.raises(CrossetteError, match=r"not valid for '127\.0\.0\.1'") as refused,
    ):
        ask(server.root.replace("http:", "https:"))
    assert "SSL_CERT_FILE" not in str(refused.value)


@COMMANDS
def test_a_server_that_speaks_no_https_is_not_said_to_be_down(api: ApiServer, ask: Callable[[str], None]) -> None:
    with pytest.raises(CrossetteError, match=r"Does it speak HTTPS, or is it http://\?"):
        ask(api.root.replace("http:", "https:"))


@pytest.mark.parametrize("ask", [read_status, say_hello], ids=["status", "chat"])
def test_a_file_of_certificates_that_is_not_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], None]
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/cert.pem")

    with pytest.raises(ConfigError, match="SSL_CERT_FILE or SSL_CERT_DIR cannot be read"):
        ask("https://127.0.0.1:1")


@pytest.mark.parametrize(
    ("ask", "raised"), [(read_status, StatusFailed), (say_hello, ReplyFailed), (run_load, ConfigError)]
)
def test_a_server_that_is_not_there_is_asked_after(ask: Callable[[str], None], raised: type[CrossetteError]) -> None:
    with pytest.raises(raised, match=r"127\.0\.0\.1:1\b.*Is the server running\?"):
        ask("http://127.0.0.1:1")


def test_the_cause_is_found_behind_what_the_client_raised(https: str) -> None:
    async def connect() -> None:
        with closing(Connection(Address.parse(https), {})) as connection:
            await connection.request("GET", "/v1/models")

    with pytest.raises(ConnectionFailed, match="not trusted"):
        asyncio.run(connect())


# --- what it says ---


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (json.dumps({"error": {"message": "No."}}).encode(), "No."),
        (json.dumps({"error": "No."}).encode(), "No."),
        (json.dumps({"detail": "No."}).encode(), "No."),
        (json.dumps(["No."]).encode(), '["No."]'),
        (b"<p>\n No.\n", "<p> No."),
        (b"", "no reason given"),
        (b"\x1b[31mNo.", r"\x1b[31mNo."),
        (b"[" * 100_000, "[" * 299 + "…"),
        (b"x" * 400, "x" * 299 + "…"),
    ],
)
def test_any_servers_error_is_a_sentence(body: bytes, said: str) -> None:
    assert told(body) == said
