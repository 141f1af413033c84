"""The startup banner and the URLs of a server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from crossette.engine import CacheLayers, EngineStats
from crossette.errors import ConfigError
from crossette.pool.pool import ModelPool
from crossette.server.banner import Banner, root_urls
from crossette.server.listener import bind
from crossette.testing.fake_engine import FakeEngine
from crossette.types import EmbeddingFacts
from support.model_loads import Loads

LIMIT_S = 120


class WarningEngine(FakeEngine):
    """An engine with warnings and details."""

    warnings = ("wide steps are not exact here",)
    details = MappingProxyType({"threads": 2})


def banner(*roots: str, needs_key: bool = False) -> Banner:
    return Banner(ModelPool.of({"fake": WarningEngine()}), roots, needs_key)


class CachingEngine(FakeEngine):
    """An engine with two kinds of layers."""

    def stats(self) -> EngineStats:
        layers = (CacheLayers(4, token_bytes=2112), CacheLayers(22, token_bytes=11_616, window=512))
        return replace(super().stats(), kv_bytes=1 << 30, kv_tokens=96_000, kv_layers=layers)


def test_how_many_tokens_fit_and_what_they_take_is_told() -> None:
    shown = Banner(ModelPool.of({"fake": CachingEngine()}), ["http://localhost:1"], needs_key=False)

    assert (
        "  KV cache   1.0 GiB: 96000 tokens\n"
        "             4 layers attend to all tokens, with 2.1 KiB for each\n"
        "             22 layers attend to the last 512 tokens, with 11.3 KiB for each\n"
    ) in shown.text()
    assert shown.fields()["kv_cache_tokens"] == 96_000
    assert shown.fields()["kv_cache_layers"][1] == {"num_layers": 22, "token_bytes": 11_616, "window": 512}


def test_without_keys_the_example_request_has_no_key() -> None:
    text = banner("http://127.0.0.1:8000").text()

    assert "curl http://127.0.0.1:8000/v1/chat/completions" in text
    assert "  warning    wide steps are not exact here\n" in text
    assert "KEY" not in text


def test_the_example_of_an_embedding_model_asks_for_a_vector() -> None:
    engine = FakeEngine()
    engine.info = replace(engine.info, embedding=EmbeddingFacts(dimensions=8, pooling="mean", normalized=True))
    text = Banner(ModelPool.of({"vectors": engine}), ["http://127.0.0.1:8000"], needs_key=False).text()

    assert "curl http://127.0.0.1:8000/v1/embeddings" in text
    assert """-d '{"model": "vectors", "input": "Hello!"}'""" in text


def test_once_keys_exist_the_example_request_has_a_key() -> None:
    text = banner("http://127.0.0.1:8000", needs_key=True).text()

    assert '-H "authorization: Bearer $KEY" \\\n' in text
    assert "crossette keys create" in text


def test_the_example_request_is_a_valid_shell_command(tmp_path: Path) -> None:
    """Run it with a `curl` that prints its arguments."""
    curl = tmp_path / "curl"
    curl.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    curl.chmod(0o755)
    text = banner("http://localhost:8000", needs_key=True).text()
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "KEY": "sk-mine"}

    ran = subprocess.run(["sh", "-c", text[text.index("curl") :]], env=environ, capture_output=True, check=True)

    url, *options = json.loads(ran.stdout)
    values = dict(zip(options[1::2], options[::2], strict=True))
    assert url == "http://localhost:8000/v1/chat/completions"
    assert "authorization: Bearer sk-mine" in values
    assert json.loads(options[-1])["model"] == "fake"


def test_further_urls_are_listed_after_the_first() -> None:
    shown = banner("http://localhost:1", "http://box:1")

    assert "  also at    http://box:1\n" in shown.text()
    assert shown.fields()["urls"] == ["http://localhost:1", "http://box:1"]


def test_the_log_fields_are_valid_json() -> None:
    fields = json.loads(json.dumps(banner("http://localhost:1", needs_key=True).fields()))

    assert (fields["url"], fields["model"], fields["needs_key"]) == ("http://localhost:1", "fake", True)
    assert fields["warnings"] == ["wide steps are not exact here"]


def test_models_that_are_not_loaded_yet_are_listed() -> None:
    loads = Loads()
    pool = ModelPool([loads.source("a"), loads.source("b", keep=True)])
    pool.start("b")
    shown = Banner(pool, ["http://localhost:1"], needs_key=False)

    assert "  model      a (fake, none, loaded on demand)\n  model      b (fake, none)\n" in shown.text()
    assert '"model": "a"' in shown.text()
    assert [(model["model"], "state" in model) for model in shown.fields()["models"]] == [("a", True), ("b", False)]


HERE = socket.gethostname()


@pytest.mark.parametrize(
    ("host", "allowed", "names"),
    [
        ("127.0.0.1", (), ["127.0.0.1"]),
        ("localhost", (), ["localhost"]),
        ("0.0.0.0", (), ["localhost", HERE]),
        ("", (), ["localhost", HERE]),
        ("0.0.0.0", ("*",), ["localhost", HERE]),
        ("0.0.0.0", ("api.example", "*.example"), ["api.example"]),
        ("0.0.0.0", ("api.example", "localhost"), ["localhost"]),
        ("0.0.0.0", ("*.example",), ["localhost", HERE]),
    ],
)
def test_the_urls_of_a_server_are_those_that_it_accepts(
    host: str, allowed: Sequence[str], names: Sequence[str]
) -> None:
    with closing(bind(host, 0)) as listener:
        port = listener.getsockname()[1]

        assert root_urls("https", host, listener, allowed) == [
            f"https://{name}:{port}" for name in dict.fromkeys(names)
        ]


@pytest.mark.parametrize(("host", "names"), [("::1", ["[::1]"]), ("::", ["localhost", HERE])])
def test_ipv6_addresses_are_in_brackets(host: str, names: Sequence[str]) -> None:
    try:
        listener = bind(host, 0)
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    with closing(listener):
        port = listener.getsockname()[1]

        assert root_urls("http", host, listener, ()) == [f"http://{name}:{port}" for name in dict.fromkeys(names)]


@pytest.mark.slow
def test_with_json_logs_nothing_else_is_written_even_if_the_server_does_not_start(tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere.gguf")
    environ = os.environ | {"CROSSETTE_DATABASE_URL": f"sqlite:///{tmp_path}/crossette.db"}
    command = [sys.executable, "-m", "crossette", "serve", missing, "--port", "0", "--log-format", "json"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=LIMIT_S)

    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = [json.loads(line) for line in ended.stderr.splitlines()]
    assert line["level"] == "error"
    assert missing in line["message"]
