"""Model names and aliases in requests, and GET /models."""

from __future__ import annotations

import pytest
from openai import NotFoundError
from openai.types import Model

from crossette.errors import ConfigError
from support.api_server import ApiServer, say, serving, strictly

STARCODER = "accounts/fireworks/models/starcoder-16b-w8a16"
SERVED = ["fake", "gpt-3.5-turbo", STARCODER]
OURS = {"context_length", "root"}

NAMES = [
    "fake",
    "gpt-3.5-turbo",
    STARCODER,
    "accounts/fireworks/models/fake",
    "accounts/somebody/models/fake",
    "accounts/somebody/models/gpt-3.5-turbo",
    "fake#accounts/somebody/deployments/d1",
    "accounts/x/models/fake#x/d1",
]


def test_every_name_is_listed_models_first(api: ApiServer, prefix: str) -> None:
    raw = api.get(f"{prefix}/models").json()

    assert raw["object"] == "list"
    assert [(entry["id"], entry["root"]) for entry in raw["data"]] == [(name, "fake") for name in SERVED]
    assert [strictly(Model, entry) for entry in raw["data"]] == [OURS] * len(SERVED)


@pytest.mark.parametrize("base", ["/v1", "/inference/v1", "/inference/v1/v1"])
@pytest.mark.parametrize("path", ["/models", f"/models/{STARCODER}"])
def test_a_trailing_slash_of_a_model_path_has_no_effect(api: ApiServer, base: str, path: str) -> None:
    with_slash, without = api.get(f"{base}{path}/"), api.get(base + path)

    assert (with_slash.status_code, without.status_code) == (200, 200)
    assert with_slash.json() == without.json()


def test_the_sdk_lists_and_retrieves(api: ApiServer, prefix: str) -> None:
    models = api.sdk(prefix).models

    assert [model.id for model in models.list()] == SERVED
    assert models.retrieve(STARCODER).id == STARCODER


@pytest.mark.parametrize("name", NAMES)
def test_a_model_name_is_resolved_and_echoed_as_sent(api: ApiServer, prefix: str, name: str) -> None:
    sdk = api.sdk(prefix)

    assert sdk.completions.create(model=name, prompt=say("a")).model == name
    chat = sdk.chat.completions.create(model=name, messages=[{"role": "user", "content": "a"}], stream=True)
    assert {chunk.model for chunk in chat} == {name}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encode", [False, True], ids=["raw", "encoded"])
def test_a_name_in_a_path_may_be_raw_or_percent_encoded(api: ApiServer, prefix: str, name: str, encode: bool) -> None:
    path = name.replace("#", "%23")
    path = path.replace("/", "%2F") if encode else path

    assert api.get(f"{prefix}/models/{path}").json()["id"] == name


@pytest.mark.parametrize("name", ["fake2", "accounts/fireworks/models/other", "accounts/fake", "", "#", "Fake"])
def test_an_unknown_model_is_a_404_that_lists_the_served_models(api: ApiServer, prefix: str, name: str) -> None:
    answer = api.post(f"{prefix}/completions", {"model": name, "prompt": "a"})

    error = answer.json()["error"]
    expected = ("invalid_request_error", "model_not_found") if prefix == "/v1" else ("error", "NOT_FOUND")
    assert (answer.status_code, error["type"], error["code"], error["param"]) == (404, *expected, "model")
    assert f"The model '{name}' is not served here." in error["message"]
    assert f"Served: {', '.join(SERVED)}." in error["message"]


@pytest.mark.parametrize("name", ["other", "accounts/fireworks/models/other", "accounts%2Ffireworks%2Fmodels%2Fother"])
def test_an_unknown_model_in_a_path_is_the_same_404(api: ApiServer, prefix: str, name: str) -> None:
    answer = api.get(f"{prefix}/models/{name}")
    posted = api.post(f"{prefix}/completions", {"model": name.replace("%2F", "/"), "prompt": "a"})

    assert answer.status_code == 404
    assert answer.json()["error"] == posted.json()["error"]


def test_a_similar_name_is_suggested(api: ApiServer, prefix: str) -> None:
    with pytest.raises(NotFoundError, match=r"Did you mean fake\?"):
        api.sdk(prefix).models.retrieve("fakes")


def test_an_unknown_model_is_a_404_also_when_streaming(api: ApiServer, prefix: str) -> None:
    with pytest.raises(NotFoundError):
        api.sdk(prefix).completions.create(model="other", prompt="a", stream=True)


def test_an_alias_of_an_unknown_model_is_rejected_at_start() -> None:
    with pytest.raises(ConfigError, match=r"--alias a=b: b is not served\. Served: fake"), serving(aliases={"a": "b"}):
        pass
