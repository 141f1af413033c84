"""Models that other servers run, from the tables of the configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossette.errors import ConfigError
from crossette.models.store import ModelStore
from crossette.pool.pool import ModelPool
from crossette.server.banner import Banner
from crossette.server.remote import Remote, remote_models
from crossette.server.served import aliases, choose_models
from crossette.server.settings import Settings, load_settings

URL = 'base_url = "http://127.0.0.1:8080/v1/"'


def settings(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "crossette.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings({}, {}, file)


def remotes(tmp_path: Path, text: str, **environ: str) -> list[Remote]:
    return remote_models(settings(tmp_path, text), environ)


def test_a_table_with_engine_remote_is_a_remote_model(tmp_path: Path) -> None:
    text = """
        [models.chat]
        engine = "remote"
        base_url = ["http://127.0.0.1:8080/v1/", "https://api.example.com/v1"]
        model = "theirs"
        alias = ["gpt-4o"]
        api_key_env = "THEIR_KEY"
        upstream_fields = ["top_k", "min_p"]
        image_urls = true
        connect_timeout = 2
    """
    (found,) = remotes(tmp_path, text, THEIR_KEY="sk-secret")

    assert (found.name, found.model.model) == ("chat", "theirs")
    assert [upstream.base_url for upstream in found.model.upstreams] == [
        "http://127.0.0.1:8080/v1",
        "https://api.example.com/v1",
    ]
    assert found.model.fields == {"top_k", "min_p"}
    assert found.model.image_urls
    assert aliases([found], ["first"]) == {"first": "chat", "gpt-4o": "chat"}
    assert "sk-secret" not in repr(found)


def test_a_server_may_have_remote_models_only(tmp_path: Path) -> None:
    loaded = settings(tmp_path, f'[server]\nmodel = "chat"\n[models.chat]\nengine = "remote"\n{URL}')

    def pull(reference: str) -> None:
        raise AssertionError(reference)

    assert choose_models(loaded, pull, ModelStore(tmp_path)) == []  # type: ignore[arg-type]
    (found,) = remote_models(loaded, {})
    banner = Banner(ModelPool.of({}), ["http://localhost:1"], needs_key=False, remotes=[found.model])
    assert "  model      chat (remote, 127.0.0.1:8080)\n" in banner.text()
    assert '"model": "chat"' in banner.text()
    assert banner.fields()["upstreams"] == ["127.0.0.1:8080"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('engine = "remote"', "no base_url"),
        (f'engine = "remote"\n{URL}\nkeep = true', "'keep', which a model of engine = \"remote\" does not have"),
        (f'engine = "remote"\n{URL}\nkv_cache = "1GiB"', "'kv_cache', which"),
        (f'engine = "remote"\n{URL}\nupstream_fields = ["top_q"]', "'top_q' is none of top_k"),
        (f'engine = "remote"\n{URL}\napi_key_env = "NO_KEY"', "'NO_KEY', and that environment variable is not set"),
        (f'engine = "remote"\n{URL}\napi_key_env = "BAD_KEY"', "BAD_KEY has characters that a header cannot have"),
        (f'engine = "remote"\n{URL}\nread_timeout = 0', "read_timeout in .* cannot be 0"),
        ('engine = "remote"\nbase_url = "ftp://host"', "begins with neither http:// nor https://"),
        ('engine = "remote"\nbase_url = "http://host/v1?key=x"', "it has a query or a fragment"),
        (
            'engine = "remote"\nbase_url = "http://me:secret@host/v1"',
            "cannot be 'host/v1': it has a user or a password",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        remotes(tmp_path, f"[models.chat]\n{table}", BAD_KEY="sk-\nsecret")
    assert "secret" not in str(raised.value)


def test_a_model_of_this_server_has_no_upstream(tmp_path: Path) -> None:
    loaded = settings(tmp_path, f"[models.chat]\n{URL}")

    def pull(reference: str) -> None:
        raise AssertionError(reference)

    with pytest.raises(ConfigError, match="'base_url', which needs engine = \"remote\""):
        choose_models(loaded, pull, ModelStore(tmp_path))  # type: ignore[arg-type]
