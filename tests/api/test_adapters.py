"""Adapters over HTTP: models of their own name, which share the engine of their base."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from crossette.accounts.access import Caller
from crossette.engine import ModelFiles
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.pool.model import ModelSource
from crossette.pool.pool import ModelPool
from support.api_server import DIALECTS, PREFIXES, ApiServer, serving
from support.byte_tokenizer import CHAT_TEMPLATE
from support.engine_calls import TINY_CONTEXT
from support.lora_adapters import random_matrices, write_adapter

NAMES = ("tiny", "pirate", "lawyer")
ALIASES = {"gpt-4o": "pirate"}


def headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def source(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """A tiny model with two adapters, which is loaded when a request asks for it."""
    root = tmp_path_factory.mktemp("adapters")
    files = ModelFiles(
        path=tiny_model_dir,
        name="tiny",
        architecture="llama",
        quantization="Q8_0",
        context_length=TINY_CONTEXT,
        end_token_ids=frozenset(),
        chat_template=CHAT_TEMPLATE,
        adapters={
            "pirate": write_adapter(root / "pirate", random_matrices(4, seed=1)),
            "lawyer": write_adapter(root / "lawyer", random_matrices(8, seed=2)),
        },
    )
    return ModelSource(
        "tiny",
        load=lambda: OpenVINOEngine.load(files, OpenVINOSettings(kv_cache="8MiB")),
        describe=lambda: files.info(context_length=TINY_CONTEXT, vocab_size=0),
        adapters=tuple(files.adapters),
    )


@pytest.fixture(scope="module")
def api(source: ModelSource) -> Iterator[ApiServer]:
    callers = {
        "admin": Caller("a", "admin", is_admin=True),
        "pirates": Caller("p", "pirates", models=frozenset({"pirate"})),
    }
    with serving(pool=ModelPool([source]), aliases=ALIASES, callers=callers) as server:
        yield server


def ask(api: ApiServer, prefix: str, model: str, text: str = "Once upon a time", **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 12, "temperature": 0, **more}
    return api.post(f"{prefix}/chat/completions", body)


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


@pytest.mark.parametrize("prefix", PREFIXES)
def test_adapters_are_listed_with_their_base(api: ApiServer, prefix: str) -> None:
    entries = {entry["id"]: entry for entry in api.get(f"{prefix}/models").json()["data"]}

    assert list(entries) == [*NAMES, *ALIASES]
    assert [(entries[name]["root"], entries[name].get("parent")) for name in entries] == [
        ("tiny", None),
        ("pirate", "tiny"),
        ("lawyer", "tiny"),
        ("pirate", "tiny"),
    ]
    assert {entry["context_length"] for entry in entries.values()} == {TINY_CONTEXT}
    if DIALECTS[prefix].model_details:
        assert [entries[name]["kind"] for name in NAMES] == ["HF_BASE_MODEL", "HF_PEFT_ADDON", "HF_PEFT_ADDON"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_each_name_has_its_own_text_in_any_company(api: ApiServer, prefix: str) -> None:
    alone = {name: text_of(ask(api, prefix, name)) for name in NAMES}
    assert len(set(alone.values())) == len(NAMES)

    with ThreadPoolExecutor(9) as executor:
        answers = list(executor.map(lambda name: (name, text_of(ask(api, prefix, name))), NAMES * 3))

    assert all(text == alone[name] for name, text in answers)


@pytest.mark.parametrize("name", ["gpt-4o", "PIRATE", "accounts/me/models/pirate", "pirate#me/deployment"])
def test_an_adapter_has_all_notations_of_a_name(api: ApiServer, name: str) -> None:
    response = ask(api, "/inference/v1", name)

    assert response.json()["model"] == name
    assert text_of(response) == text_of(ask(api, "/v1", "pirate"))


def test_a_stream_and_a_completion_use_the_adapter(api: ApiServer) -> None:
    sdk = api.sdk("/v1")
    stream = sdk.chat.completions.create(
        model="lawyer",
        messages=[{"role": "user", "content": "Once upon a time"}],
        max_tokens=12,
        temperature=0,
        stream=True,
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    completions = {
        sdk.completions.create(model=name, prompt="Once", max_tokens=12, temperature=0).choices[0].text
        for name in NAMES
    }

    assert streamed == text_of(ask(api, "/v1", "lawyer"))
    assert len(completions) == len(NAMES)


def test_fingerprints_and_embeddings_are_those_of_the_adapter(api: ApiServer) -> None:
    fingerprints = {ask(api, "/v1", name).json()["system_fingerprint"] for name in NAMES}
    vectors = {
        json.dumps(api.post("/v1/embeddings", {"model": name, "input": "Once"}).json()["data"][0]["embedding"])
        for name in NAMES
    }

    assert len(fingerprints) == len(vectors) == len(NAMES)


def test_requests_are_recorded_under_the_adapters_name(api: ApiServer) -> None:
    before = api.observed.count()
    text_of(ask(api, "/v1", "gpt-4o"))
    api.observed.wait_for(before + 1)

    work = api.observed.records[-1].work
    assert work is not None
    assert work.model == "pirate"


def test_a_key_may_be_for_an_adapter_alone(api: ApiServer) -> None:
    own = headers("pirates")
    names = [entry["id"] for entry in api.get("/v1/models", own).json()["data"]]
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}

    assert names == ["pirate", "gpt-4o"]
    assert api.post("/v1/chat/completions", {**body, "model": "pirate"}, own).status_code == 200
    assert api.post("/v1/chat/completions", {**body, "model": "tiny"}, own).status_code == 404


def test_loading_and_unloading_act_on_the_base(api: ApiServer) -> None:
    text = text_of(ask(api, "/v1", "lawyer"))

    unloaded = api.post("/v1/models/pirate/unload", {}, headers("admin")).json()
    states = {entry["id"]: entry["state"] for entry in api.get("/v1/models").json()["data"]}
    loaded = api.post("/v1/models/lawyer/load", {}, headers("admin")).json()

    assert (unloaded["id"], unloaded["state"]) == ("pirate", "asleep")
    assert set(states.values()) == {"asleep"}
    assert (loaded["id"], loaded["state"]) == ("lawyer", "awake")
    assert text_of(ask(api, "/v1", "lawyer")) == text


def test_health_has_the_base_once(api: ApiServer) -> None:
    assert [model["id"] for model in api.get("/health/ready").json()["models"]] == ["tiny"]


def test_a_ranking_refuses_an_adapter(api: ApiServer) -> None:
    response = api.post("/v1/rerank", {"model": "pirate", "query": "a", "documents": ["b"]})

    assert response.status_code == 400
    assert "'pirate' generates text" in response.text
