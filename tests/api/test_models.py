"""Model names and aliases in requests, and GET /models."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import NotFoundError
from openai.types import Model

from crossette.api.models import ServedModels
from crossette.errors import ConfigError, ModelNotFound
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, parrot, say, serving, strictly

STARCODER = "accounts/fireworks/models/starcoder-16b-w8a16"
SERVED = ["fake", "gpt-3.5-turbo", STARCODER]
OURS = {"context_length", "root", "state"}
OF_FIREWORKS = {"kind", "supports_chat", "supports_tools", "supports_image_input"}

NAMES = [
    "fake",
    "gpt-3.5-turbo",
    STARCODER,
    "accounts/fireworks/models/fake",
    "accounts/somebody/models/fake",
    "accounts/somebody/models/gpt-3.5-turbo",
    "fake#accounts/somebody/deployments/d1",
    "accounts/x/models/fake#x/d1",
    "accounts/x/deployments/fake",
    "accounts/x/routers/fake",
    "fireworks/fake",
    "openai/fake",
    "models/fake",
    "openai/accounts/x/models/gpt-3.5-turbo",
    "Fake",
    "GPT-3.5-Turbo",
    "accounts/x/models/FAKE",
    "Accounts/Fireworks/Models/StarCoder-16b-w8a16",
    "Accounts/X/Deployments/Fake",
    "OpenAI/fake",
    "FIREWORKS/gpt-3.5-turbo",
]


def test_every_name_is_listed_models_first(api: ApiServer, prefix: str) -> None:
    raw = api.get(f"{prefix}/models").json()

    assert raw["object"] == "list"
    assert [(entry["id"], entry["root"]) for entry in raw["data"]] == [(name, "fake") for name in SERVED]
    extras = OURS | (OF_FIREWORKS if prefix == "/inference/v1" else set())
    assert [strictly(Model, entry) for entry in raw["data"]] == [extras] * len(SERVED)


@pytest.mark.parametrize("template", [None, "{{ messages }}"])
def test_entries_of_fireworks_describe_the_model(template: str | None) -> None:
    engine, is_chat = FakeEngine(parrot), template is not None
    engine.info = replace(engine.info, chat_template=template)
    with serving(engine) as api:
        (entry,) = api.get("/inference/v1/models").json()["data"]
        assert entry == api.get("/inference/v1/models/fake").json()
        chat = {"model": "fake", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
        assert (api.post("/inference/v1/chat/completions", chat).status_code == 200) is is_chat
    details = {name: entry[name] for name in OF_FIREWORKS}
    assert details == {
        "kind": "HF_BASE_MODEL",
        "supports_chat": is_chat,
        "supports_tools": is_chat,
        "supports_image_input": False,
    }


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


@pytest.mark.parametrize(
    "name",
    [
        "fake2",
        "accounts/fireworks/models/other",
        "accounts/fake",
        "",
        "#",
        "x/fake",
        "accounts//models/fake",
        "accounts/x/datasets/fake",
        "openai/openai/openai/fake",
        "models/",
    ],
)
def test_an_unknown_model_is_a_404_that_lists_the_served_models(api: ApiServer, prefix: str, name: str) -> None:
    answer = api.post(f"{prefix}/completions", {"model": name, "prompt": "a"})

    error = answer.json()["error"]
    expected = ("invalid_request_error", "model_not_found") if prefix == "/v1" else ("error", "NOT_FOUND")
    assert (answer.status_code, error["type"], error["code"], error["param"]) == (404, *expected, "model")
    assert f"The model '{name}' is not served here." in error["message"]
    assert f"Served: {', '.join(SERVED)}." in error["message"]
    assert "--alias NAME=MODEL" in error["message"]


@pytest.mark.parametrize("name", ["other", "accounts/fireworks/models/other", "accounts%2Ffireworks%2Fmodels%2Fother"])
def test_an_unknown_model_in_a_path_is_the_same_404(api: ApiServer, prefix: str, name: str) -> None:
    answer = api.get(f"{prefix}/models/{name}")
    posted = api.post(f"{prefix}/completions", {"model": name.replace("%2F", "/"), "prompt": "a"})

    assert answer.status_code == 404
    assert answer.json()["error"] == posted.json()["error"]


@pytest.mark.parametrize(
    "name", ["fakes", "FAKES", "accounts/x/models/Fakes", "openai/fakes#x/d1", "fireworks_ai/accounts/x/models/fake"]
)
def test_a_similar_name_is_suggested(api: ApiServer, prefix: str, name: str) -> None:
    with pytest.raises(NotFoundError, match=r"Did you mean fake\?"):
        api.sdk(prefix).completions.create(model=name, prompt="a")


# --- which model a name stands for ---


def models(*names: str, **aliases: str) -> ServedModels:
    return ServedModels(ModelPool.of({name: engine_of(name) for name in names}), aliases)


def engine_of(name: str) -> FakeEngine:
    engine = FakeEngine()
    engine.info = replace(engine.info, name=name)
    return engine


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a", "a"),
        ("A", "A"),
        ("openai/a", "openai/a"),
        ("openai/A", "A"),
        ("models/a", "a"),
        ("x#y", "x#y"),
        ("x#z", "x"),
    ],
)
def test_the_exact_name_takes_precedence(name: str, target: str) -> None:
    served = models("a", "A", "openai/a", "x", "x#y")

    assert served.name_of(name) == target


def test_a_name_that_differs_in_case_from_several_models_is_ambiguous() -> None:
    served = models("Llama", "llama", "other")

    assert served.name_of("LLAMA") is None
    with pytest.raises(ModelNotFound, match="'LLAMA' is ambiguous: it differs only in case from Llama and llama"):
        served.find("LLAMA")


def test_names_of_one_model_that_differ_in_case_are_not_ambiguous() -> None:
    assert models("fake", Gpt="fake", gpt="fake").name_of("GPT") == "fake"


@pytest.mark.parametrize("name", ["a", "openai/a", "accounts/x/deployments/a"])
def test_a_name_that_a_key_may_not_use_stands_for_no_other_model(name: str) -> None:
    """Else a key would get another model under the name of one that it may not use."""
    only = models("a", "A").only(frozenset({"A"}))

    assert only.name_of("A") == "A"
    assert only.name_of(name) is None
    with pytest.raises(ModelNotFound, match=r"is not served here\. Did you mean A\? Served: A\."):
        only.find(name)


def test_a_key_is_checked_for_the_model_whatever_the_notation() -> None:
    only = models("fake", "other", alias="other").only(frozenset({"other"}))

    for name in ("other", "ALIAS", "accounts/x/routers/Other", "openai/alias"):
        assert only.name_of(name) == "other"
    for name in ("fake", "FAKE", "accounts/x/routers/Fake", "openai/fake"):
        assert only.name_of(name) is None


@given(st.lists(st.sampled_from(["a", "A", "b", "models/a", "openai/B"]), unique=True), st.text("aAbBc/", max_size=4))
def test_a_restriction_never_changes_the_model_of_a_name(allowed: list[str], name: str) -> None:
    served = models("a", "A", "b", "models/a")
    for asked in (name, f"openai/{name}", f"accounts/x/models/{name}#d"):
        restricted = served.only(frozenset(allowed)).name_of(asked)
        assert restricted is None or restricted in allowed
        assert served.name_of(asked) in (None, restricted) or restricted is None


def test_at_most_twenty_names_are_listed() -> None:
    served = models(*(f"model-{number:02}" for number in range(50)))

    with pytest.raises(ModelNotFound, match=r"model-18, model-19 and 30 more in GET /models\. A server") as raised:
        served.find("x")
    assert "model-20" not in str(raised.value)


@pytest.mark.parametrize("name", ["models/" * 10**5, "x" * 10**6, "#" * 10**6, "accounts/" * 10**5])
def test_a_long_name_is_cut_in_the_message(name: str) -> None:
    with pytest.raises(ModelNotFound) as raised:
        models("fake").find(name)

    assert len(str(raised.value)) < 500


def test_an_unknown_model_is_a_404_also_when_streaming(api: ApiServer, prefix: str) -> None:
    with pytest.raises(NotFoundError):
        api.sdk(prefix).completions.create(model="other", prompt="a", stream=True)


def test_an_alias_of_an_unknown_model_is_rejected_at_start() -> None:
    with pytest.raises(ConfigError, match=r"--alias a=b: b is not served\. Served: fake"), serving(aliases={"a": "b"}):
        pass
