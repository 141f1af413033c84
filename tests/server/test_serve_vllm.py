"""Models of a server that run on vLLM."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossette.engine import AnyEngine
from crossette.engines.vllm.engine import NOT_INVARIANT, VllmEngine
from crossette.engines.vllm.process import VllmProcess
from crossette.errors import ConfigError, ModelError, ShuttingDown
from crossette.models.store import ModelStore, StoredModel
from crossette.pool.pool import ModelPool
from crossette.server.banner import Banner
from crossette.server.draining import _ERROR_FRAMES_TIMEOUT_S
from crossette.server.served import Served, choose_models, loaded_at_start, model_pool
from crossette.server.settings import Settings, load_settings
from support.api_server import ApiServer, serving
from support.engine_calls import run
from support.tiny_checkpoint import write_tiny_checkpoint
from support.vllm_server import FakeVllm, running, write_program
from support.waiting import wait_until

LIMIT_S = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


def settings(tmp_path: Path, text: str, **flags: Any) -> Settings:  # Any: values of flags
    file = tmp_path / "crossette.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(flags, {}, file)


def no_pull(reference: str) -> StoredModel:
    raise AssertionError(f"{reference} is pulled into the store")


def choose(tmp_path: Path, given: Settings) -> list[Served]:
    return choose_models(given, no_pull, ModelStore(tmp_path / "models"))


def test_a_model_on_vllm_is_found_without_the_store(tmp_path: Path, folder: Path) -> None:
    given = settings(tmp_path, f'[models.big]\nengine = "vllm"\nref = "{folder}"\nvllm_args = ["--x=1", "--y"]\n')

    (big,) = choose(tmp_path, given)
    pool = model_pool([big], given)

    assert loaded_at_start([big]) == ["big"]
    assert big.options == {"vllm_args": ("--x=1", "--y")}
    assert pool.models["big"].source.memory == 0
    info = pool.models["big"].info
    assert (info.name, info.architecture, info.quantization) == ("big", "llama", "float32")
    assert (info.context_length, info.end_token_ids) == (1024, frozenset({257}))
    assert info.chat_template


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ('engine = "vllm"\nref = "small"', ModelError, "'small' is not a model for vLLM. Give a folder"),
        ('engine = "vllm"\nref = "{empty}"', ModelError, "has no config.json"),
        ('engine = "vllm"\nkv_cache = "1GiB"', ConfigError, "sets 'kv_cache', a setting of the engine 'openvino'"),
        ('vllm_url = "http://x"', ConfigError, "sets 'vllm_url', a setting of the engine 'vllm'"),
        ('engine = "vlm"', ConfigError, "must be one of openvino, vllm"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, table: str, error: type[Exception], message: str) -> None:
    (tmp_path / "empty").mkdir()
    text = "[models.big]\n" + table.format(empty=tmp_path / "empty")

    with pytest.raises(error) as raised:
        choose_models(settings(tmp_path, text), lambda _: pytest.fail("is pulled"), ModelStore(tmp_path / "models"))

    assert message in str(raised.value)


@pytest.mark.parametrize("flag", [{"vllm_url": "http://x"}, {"vllm_args": ("--x",)}, {"vllm_max_sequences": 5}])
def test_settings_of_vllm_without_a_model_on_it_are_refused(tmp_path: Path, flag: dict[str, Any]) -> None:
    given = settings(tmp_path, "", all=True, **flag)

    with pytest.raises(ConfigError, match="settings of the engine 'vllm', but no model runs on it"):
        choose(tmp_path, given)


@pytest.fixture
def pool(tmp_path: Path, folder: Path) -> ModelPool:
    """A model that runs on a child process."""
    program = write_program(tmp_path)
    given = settings(tmp_path, f'[models.big]\nengine = "vllm"\nref = "{folder}"\nvllm_command = "{program}"\n')
    return model_pool(choose(tmp_path, given), given)


@pytest.fixture
def api(pool: ModelPool) -> Iterator[ApiServer]:
    with serving(start(pool), pool=pool) as api:
        yield api
        pool.close()


def start(pool: ModelPool) -> VllmEngine:
    engine = pool.start("big")
    assert isinstance(engine, VllmEngine)
    return engine


def process_of(engine: AnyEngine) -> VllmProcess:
    assert isinstance(engine, VllmEngine)
    process = engine._server._process
    assert process is not None
    return process


def ready(api: ApiServer) -> int:
    return api.get("/health/ready").status_code


def test_a_killed_vllm_ends_its_streams_with_an_error_and_the_server_is_ready_again(api: ApiServer) -> None:
    body = {"model": "big", "prompt": "a", "max_tokens": 900, "stream": True, "ignore_eos": True}
    assert ready(api) == 200
    process = process_of(api.engine)

    with api.begin("/v1/completions", body) as connection:
        received = connection.recv(4096)
        assert b" 200 " in received
        process.kill()
        while b'"error"' not in received:
            received += connection.recv(65536)
        assert ready(api) == 503
        assert api.get("/health/live").status_code == 200
        while data := connection.recv(65536):
            received += data

    assert received.count(b'"error"') == 1
    assert b"[DONE]" not in received
    wait_until(lambda: ready(api) == 200, LIMIT_S)
    answer = api.post("/v1/completions", {"model": "big", "prompt": "a", "max_tokens": 2})
    assert answer.status_code == 200


def test_a_child_ends_when_its_model_is_unloaded_and_a_request_starts_another(api: ApiServer, pool: ModelPool) -> None:
    first = process_of(pool.engines["big"])

    unloaded = api.post("/v1/models/big/unload", {}).json()
    states = [(model["id"], model["state"]) for model in api.get("/v1/models").json()["data"]]
    was_ended, is_ready = first.wait(0), ready(api)
    answer = api.post("/v1/completions", {"model": "big", "prompt": "a", "max_tokens": 2})

    assert (unloaded["state"], states, was_ended, is_ready) == ("asleep", [("big", "asleep")], True, 200)
    assert answer.status_code == 200
    assert process_of(pool.engines["big"]) is not first
    assert pool.models["big"].memory == 0
    assert 'crossette_model_awake{model="big"} 1' in api.get("/metrics").text


def test_a_load_ends_soon_when_the_server_shuts_down(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = f'engine = "vllm"\nref = "{folder}"\nvllm_command = "{write_program(tmp_path)}"'
    given = settings(tmp_path, f'[models.big]\n{table}\nvllm_args = ["--load-forever"]\n')
    pool = model_pool(choose(tmp_path, given), given)

    async def work() -> None:
        waiting = asyncio.create_task(pool.acquire("big"))
        while not pool.models["big"].loading_since:
            await asyncio.sleep(0.01)
        pool.close()
        with pytest.raises(ShuttingDown):
            await waiting

    end, limits = VllmProcess.end, list[float]()

    def noted(process: VllmProcess, limit: float) -> None:
        limits.append(limit)
        end(process, limit)

    monkeypatch.setattr(VllmProcess, "end", noted)
    run(work())

    (limit,) = limits
    assert limit < _ERROR_FRAMES_TIMEOUT_S


def test_answers_of_both_dialects(folder: Path, tmp_path: Path) -> None:
    with running(FakeVllm()) as url:
        given = settings(tmp_path, f'[models.big]\nengine = "vllm"\nref = "{folder}"\nvllm_url = "{url}"\n')
        pool = model_pool(choose(tmp_path, given), given)
        with serving(start(pool), pool=pool) as api:
            message = {"role": "user", "content": "hi <|im_end|>"}
            chat = {"model": "big", "messages": [message], "max_tokens": 40, "seed": 1}
            schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
            shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}

            for prefix in ("/v1", "/inference/v1"):
                answer = api.post(f"{prefix}/chat/completions", chat).json()
                assert answer["choices"][0]["finish_reason"] == "length"
                limited = api.post(f"{prefix}/chat/completions", {**chat, "response_format": shape}).json()
                assert limited["choices"][0]["message"]["content"].replace(" ", "") in ('{"a":1}', '{"a":2}')
                refused = api.post(f"{prefix}/chat/completions", {**chat, "temperature": 0.001})
                assert (refused.status_code, refused.json()["error"]["param"]) == (400, "temperature")
            api.engine.close()


def test_the_banner_names_vllm_and_what_it_does_not_promise(folder: Path, tmp_path: Path) -> None:
    with running(FakeVllm()) as url:
        given = settings(tmp_path, f'[models.big]\nengine = "vllm"\nref = "{folder}"\nvllm_url = "{url}"\n')
        pool: ModelPool = model_pool(choose(tmp_path, given), given)
        pool.start("big")
        text = Banner(pool, ["http://localhost:1"], needs_key=False).text()
        pool.close()

    assert f"  vllm       0.32.0 at {url}" in text
    assert f"  warning    {NOT_INVARIANT}" in text
