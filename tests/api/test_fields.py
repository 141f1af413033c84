"""The field tables match the wire types, the limits and defaults, the engines and the log."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from crossette.api.anthropic.request import CountTokensRequest, MessagesRequest
from crossette.api.responses.fields import PASSED, RESPONSES
from crossette.api.responses.schema import ResponsesRequest
from crossette.api.schema import fields
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.completions import CompletionRequest
from crossette.api.schema.table import REQUIRED, Description
from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import IM_END
from crossette.types import BIAS_RANGE, GenerationRequest, SamplingParams
from support.api_server import DIALECTS, ApiServer, parrot, say, serving
from support.fields_page import PAGE, Wire, nested, page, table_of
from support.response_events import without_ids

TABLES = {
    "completions": CompletionRequest.table,
    "chat/completions": ChatRequest.table,
    "responses": ResponsesRequest.table,
}
OLDER = ("completions", "chat/completions")
WIRE: dict[str, Wire] = {
    "messages": MessagesRequest,
    "messages/count_tokens": CountTokensRequest,
    "completions": CompletionRequest,
    "chat/completions": ChatRequest,
    "responses": ResponsesRequest,
    **nested(),
}
EACH = [(endpoint, name) for endpoint, table in TABLES.items() for name in table]


def is_map(endpoint: str, name: str) -> bool:
    return any(get_origin(kind) is dict for kind in get_args(get_type_hints(WIRE[endpoint])[name]))


def make_body(endpoint: str, **sent: object) -> dict[str, object]:
    prompts: dict[str, dict[str, object]] = {
        "completions": {"prompt": say("Hello")},
        "chat/completions": {"messages": [{"role": "user", "content": say("Hello")}]},
        "responses": {"input": say("Hello")},
    }
    return {"model": "fake", **prompts[endpoint], **sent}


@pytest.fixture(scope="module")
def received() -> list[GenerationRequest]:
    return []


@pytest.fixture(scope="module")
def recorder(received: list[GenerationRequest]) -> Iterator[ApiServer]:
    """A server whose engine records its requests."""

    def remember(request: GenerationRequest, index: int) -> bytes:
        if index == 0:
            received.append(request)
        return parrot(request, index)

    with serving(FakeEngine(remember)) as server:
        yield server


# --- the table and the wire ---


@pytest.mark.parametrize("path", WIRE)
def test_a_wire_type_and_its_table_have_the_same_fields(path: str) -> None:
    wire = WIRE[path]

    assert set(wire.__struct_fields__) == set(table_of(wire))


def test_no_shared_field_is_listed_again_for_one_endpoint() -> None:
    assert not fields.BOTH.keys() & (fields.COMPLETIONS.keys() | fields.CHAT.keys())


def test_a_field_of_a_chat_has_the_same_entry_in_responses() -> None:
    entries = {**fields.CHAT, **fields.BOTH}

    assert {name for name in PASSED if RESPONSES[name] is not entries[name]} == {"include_reasoning"}


def test_the_page_on_disk_matches_the_tables() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run scripts/docs"


def test_engine_parameters_and_the_fields_that_set_them_match() -> None:
    sampling, rest = (
        {field.name for field in dataclasses.fields(kind)} for kind in (SamplingParams, GenerationRequest)
    )
    named = {field.engine for table in TABLES.values() for field in table.values()} - {None}

    assert sampling <= named <= sampling | rest


# --- limits ---

LIMITED = [
    (endpoint, name, prefix)
    for endpoint, table in TABLES.items()
    for name, field in table.items()
    if field.limits
    for prefix in DIALECTS
]
WITH: dict[str, dict[str, object]] = {
    "top_logprobs": {"logprobs": True},
    "max_tokens": {"echo": True},  # which makes 0 valid
    "max_completion_tokens": {"echo": True},
    "min_tokens": {"max_tokens": 5},
}
WITH_RESPONSES: dict[str, dict[str, object]] = {"min_tokens": {"max_output_tokens": 5}}


def needed(endpoint: str, name: str) -> dict[str, object]:
    """What a field needs to be valid."""
    return (WITH_RESPONSES if endpoint == "responses" else WITH).get(name, {})


def of_size(name: str, size: float) -> object:
    """A value whose number or length is `size`; None if there is none."""
    if name == "stop":
        return [str(number) for number in range(int(size))] if size >= 0 else None
    if name == "metadata":
        return {str(number): "" for number in range(int(size))} if size >= 0 else None
    return size


@pytest.mark.parametrize(("endpoint", "name", "prefix_"), LIMITED)
def test_the_limits_of_the_table_are_enforced(api: ApiServer, endpoint: str, name: str, prefix_: str) -> None:
    limits = TABLES[endpoint][name].limits_in(DIALECTS[prefix_])
    assert limits is not None
    low, high = limits

    def answered(size: float) -> tuple[int, str | None]:
        answer = api.post(
            f"{prefix_}/{endpoint}", make_body(endpoint, **needed(endpoint, name), **{name: of_size(name, size)})
        )
        return answer.status_code, None if answer.status_code == 200 else answer.json()["error"]["param"]

    assert answered(low) == (200, None)
    if of_size(name, low - 1) is not None:
        assert answered(low - 1) == (400, name)
    if high != math.inf:
        assert answered(high) == (200, None)
        assert answered(high + 1) == (400, name)


@pytest.mark.parametrize("endpoint", TABLES)
def test_the_values_of_a_map_have_limits(api: ApiServer, prefix: str, endpoint: str) -> None:
    def answered(**sent: object) -> tuple[int, str | None]:
        answer = api.post(f"{prefix}/{endpoint}", make_body(endpoint, **sent))
        return answer.status_code, None if answer.status_code == 200 else answer.json()["error"]["param"]

    low, high = BIAS_RANGE
    assert answered(logit_bias={"1": low, "2": high}) == (200, None)
    assert answered(logit_bias={"1": low - 1}) == answered(logit_bias={"1": high + 1}) == (400, "logit_bias.1")
    key, value = fields.MAX_METADATA_KEY, fields.MAX_METADATA_VALUE
    assert answered(metadata={"k" * key: "ä" * value}) == (200, None)
    assert answered(metadata={"k" * (key + 1): ""}) == (400, "metadata")
    assert answered(metadata={"a": "", "k": "v" * (value + 1)}) == (400, "metadata.k")


@pytest.mark.parametrize("endpoint", TABLES)
def test_stop_strings_have_a_limit_together(api: ApiServer, prefix: str, endpoint: str) -> None:
    def answered(*lengths: int) -> tuple[int, str | None]:
        answer = api.post(f"{prefix}/{endpoint}", make_body(endpoint, stop=["x" * length for length in lengths]))
        return answer.status_code, None if answer.status_code == 200 else answer.json()["error"]["param"]

    assert answered(*[fields.MAX_STOP] * 4) == (200, None)
    assert answered(*[fields.MAX_STOP] * 4, 1) == (400, "stop")


@pytest.mark.parametrize("number", [5, 12, 64])
def test_any_of_many_stop_strings_ends_an_answer(api: ApiServer, number: int) -> None:
    """OpenAI's own API accepts four."""
    for prefix, text in (("/v1", "He"), ("/inference/v1", "Hel")):
        stops = [*(f"never {index}" for index in range(number - 1)), "l"]
        assert choice_of(api, f"{prefix}/completions", stop=stops) == (text, "stop", 3)


@pytest.mark.parametrize("name", ["user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"])
def test_the_length_of_recorded_text_is_limited(api: ApiServer, prefix: str, name: str) -> None:
    def status(length: int) -> int:
        return api.post(f"{prefix}/completions", make_body("completions", **{name: "ä" * length})).status_code

    assert (status(512), status(513)) == (200, 400)


@pytest.mark.parametrize("name", ["prompt_cache_options", "prompt_cache_breakpoint", "cache_control"])
def test_the_length_of_a_recorded_object_is_limited(api: ApiServer, prefix: str, name: str) -> None:
    def status(length: int) -> int:
        sent = {name: {"ttl": "x" * (length - len('{"ttl":""}'))}}
        return api.post(f"{prefix}/completions", make_body("completions", **sent)).status_code

    assert (status(512), status(513)) == (200, 400)


# --- integers ---


@pytest.mark.parametrize(
    ("endpoint", "sent"),
    [
        *((endpoint, {"max_tokens": 16.0}) for endpoint in OLDER),
        *((endpoint, {"n": 2.0, "seed": 7.0, "top_k": 40.0, "min_tokens": 1e0}) for endpoint in OLDER),
        *((endpoint, {"stop_token_ids": [5.0, 6, 7.0]}) for endpoint in TABLES),
        *((endpoint, {"logprobs": 2.0, "top_logprobs": 1.0, "echo_last": 3.0}) for endpoint in OLDER),
        *((endpoint, {"priority": -3.0, "speculation": [72.0, 101.0]}) for endpoint in OLDER),
        ("responses", {"max_output_tokens": 16.0, "max_tool_calls": 2.0, "seed": 7.0, "top_k": 40.0}),
        ("responses", {"top_logprobs": 1.0, "priority": -3.0, "min_tokens": 1e0}),
        ("completions", {"prompt": [72.0, 105]}),
        ("completions", {"prompt": [[72, 105], [72.0, 105.0]], "best_of": 2.0}),
        ("chat/completions", {"prompt_token_ids": [72.0, 105.0]}),
        ("chat/completions", {"max_completion_tokens": 1.2e1, "prompt_truncate_len": 100.0}),
    ],
)
def test_a_number_without_a_fraction_is_an_integer(
    recorder: ApiServer, received: list[GenerationRequest], prefix: str, endpoint: str, sent: dict[str, Any]
) -> None:
    def whole(value: Any) -> Any:
        return [whole(item) for item in value] if isinstance(value, list) else int(value)

    def answered(values: dict[str, Any]) -> tuple[object, ...]:
        return outcome(recorder, received, f"{prefix}/{endpoint}", make_body(endpoint, seed=1) | values)

    as_sent = answered(sent)
    assert as_sent == answered({name: whole(value) for name, value in sent.items()})
    assert as_sent[0] == 200


@pytest.mark.parametrize("value", [1.5, 2.0**53 * 2, 1e300, -0.5])
def test_other_numbers_are_not_integers(api: ApiServer, prefix: str, value: float) -> None:
    """Beyond 2**53 a number with a point may not be the one that was sent."""
    answer = api.post(f"{prefix}/completions", make_body("completions", seed=value))

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "seed")


def test_top_k_of_minus_one_keeps_all_tokens(
    recorder: ApiServer, received: list[GenerationRequest], prefix: str
) -> None:
    for endpoint in TABLES:
        for value in (-1, -1.0, 0):
            recorder.post(f"{prefix}/{endpoint}", make_body(endpoint, top_k=value)).raise_for_status()
            assert received[-1].sampling.top_k == 0


# --- defaults ---

DEFAULTED = [
    (endpoint, name)
    for endpoint, table in TABLES.items()
    for name, field in table.items()
    if field.default is not None and not isinstance(field.default, Description)
]
WHERE_IT_TELLS: dict[str, dict[str, object]] = {
    "context_length_exceeded_behavior": {"max_tokens": 5000},
    "include_stop_str_in_output": {"stop": "l"},
}


def outcome(
    recorder: ApiServer, received: list[GenerationRequest], path: str, body: dict[str, object]
) -> tuple[object, ...]:
    """The answer, and the engine's request."""
    received.clear()
    answer = recorder.post(path, body)
    requests = [dataclasses.replace(request, id="") for request in received]
    raw = answer.json()
    said = without_ids(raw)["output"] if "output" in raw else raw.get("choices")
    return answer.status_code, said, raw.get("usage"), requests


@pytest.mark.parametrize(("endpoint", "name"), DEFAULTED)
def test_sending_the_default_is_the_same_as_leaving_it_out(
    recorder: ApiServer, received: list[GenerationRequest], prefix: str, endpoint: str, name: str
) -> None:
    default = TABLES[endpoint][name].default_in(DIALECTS[prefix])

    def answered(**sent: object) -> tuple[object, ...]:
        where = {"max_output_tokens": 5000} if endpoint == "responses" and name in WHERE_IT_TELLS else {}
        body = make_body(endpoint, **sent, **(where or WHERE_IT_TELLS.get(name, {})))
        return outcome(recorder, received, f"{prefix}/{endpoint}", body)

    assert answered(**{name: default}) == answered()


def test_max_tokens_of_a_chat_defaults_to_the_rest_of_the_context_window(
    recorder: ApiServer, received: list[GenerationRequest], prefix: str
) -> None:
    recorder.post(f"{prefix}/chat/completions", make_body("chat/completions"))

    assert received[-1].sampling.max_tokens == recorder.engine.info.context_length - len(received[-1].prompt)


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [(endpoint, name) for endpoint, name in EACH if TABLES[endpoint][name].default is not REQUIRED],
)
def test_null_is_the_same_as_leaving_any_field_out(
    recorder: ApiServer, received: list[GenerationRequest], prefix: str, endpoint: str, name: str
) -> None:
    def answered(**sent: object) -> tuple[object, ...]:
        return outcome(recorder, received, f"{prefix}/{endpoint}", make_body(endpoint, **sent))

    assert answered(**{name: None}) == answered()


# --- recorded fields ---


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", TABLES)
def test_recorded_fields_are_in_the_log(prefix: str, endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    names = [name for name, field in TABLES[endpoint].items() if field.state == "recorded"]
    sent = {name: {"team": "blue"} if is_map(endpoint, name) else f"the {name}" for name in names}

    with caplog.at_level(logging.INFO, "crossette.observability.request_log"), serving() as api:
        assert api.post(f"{prefix}/{endpoint}", make_body(endpoint, **sent)).status_code == 200

    assert names
    assert [name for name in names if f" {name}={sent[name]!r}" not in caplog.text] == []


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", TABLES)
def test_large_recorded_fields_are_not_in_the_log(prefix: str, endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not even in rejected requests. Metrics and traces get the same record as the log."""
    names = [name for name, field in TABLES[endpoint].items() if field.state == "recorded"]
    long = "x" * 2_000_000
    metadata = ({"k": long}, {long: "v"}, {str(number): "v" * 500 for number in range(4000)})
    sent: list[dict[str, object]] = [{name: long} for name in ("model", *names) if name != "metadata"]
    sent += [{"metadata": given} for given in metadata]
    sent += [{name: {"ttl": long}} for name in names if is_map(endpoint, name) and name != "metadata"]

    with caplog.at_level(logging.INFO, "crossette.observability.request_log"), serving() as api:
        statuses = {api.post(f"{prefix}/{endpoint}", make_body(endpoint, **fields)).status_code for fields in sent}
        api.get("/v1/models/" + "x" * 50_000)
        api.observed.wait_for(len(sent) + 1)

    assert statuses == {400, 404}
    assert [record.path for record in api.observed.records if len(repr(record)) > 2000] == []
    assert max(len(line) for line in caplog.text.splitlines()) < 2000


# --- the prefix cache ---

KEY = "prompt_cache_isolation_key"
HEADER = "x-prompt-cache-isolation-key"


@pytest.mark.parametrize("endpoint", TABLES)
def test_the_isolation_key_is_a_field_or_a_header(
    recorder: ApiServer, received: list[GenerationRequest], prefix: str, endpoint: str
) -> None:
    def key(headers: dict[str, str], **sent: object) -> str:
        recorder.post(f"{prefix}/{endpoint}", make_body(endpoint, **sent), headers).raise_for_status()
        return received[-1].isolation_key

    assert key({}) == key({HEADER: ""}) == key({}, **{KEY: None}) == ""
    assert key({HEADER: "a"}) == key({}, **{KEY: "a"}) == key({HEADER: "a"}, **{KEY: "a"}) == "a"


@pytest.mark.parametrize("endpoint", TABLES)
def test_two_isolation_keys_are_rejected(api: ApiServer, prefix: str, endpoint: str) -> None:
    answer = api.post(f"{prefix}/{endpoint}", make_body(endpoint, **{KEY: "a"}), {HEADER: "b"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, KEY)


@pytest.mark.parametrize("endpoint", TABLES)
def test_a_prompt_without_caching_shares_nothing(
    recorder: ApiServer, received: list[GenerationRequest], prefix: str, endpoint: str
) -> None:
    keys = set()
    for _ in range(3):
        body = make_body(endpoint, cache_prompt=False, **{KEY: "a"})
        recorder.post(f"{prefix}/{endpoint}", body).raise_for_status()
        keys.add(received[-1].isolation_key)

    assert len(keys - {"", "a"}) == 3


@pytest.mark.parametrize("endpoint", TABLES)
def test_hints_for_caching_change_nothing(
    recorder: ApiServer, received: list[GenerationRequest], prefix: str, endpoint: str
) -> None:
    def answered(**sent: object) -> tuple[object, ...]:
        return outcome(recorder, received, f"{prefix}/{endpoint}", make_body(endpoint, **sent))

    hints = {
        "cache_prompt": True,
        "prompt_cache_key": "k",
        "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
        "prompt_cache_retention": "24h",
        "prompt_cache_breakpoint": {"mode": "explicit"},
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }
    assert answered(**hints) == answered()


# --- priority ---


@pytest.mark.parametrize("endpoint", TABLES)
@pytest.mark.parametrize(
    ("sent", "priority", "tier"),
    [
        ({}, 0, None),
        ({"service_tier": None}, 0, None),
        ({"service_tier": "auto"}, 0, "default"),
        ({"service_tier": "default"}, 0, "default"),
        ({"service_tier": "flex"}, -1, "flex"),
        ({"service_tier": "priority"}, 1, "priority"),
        ({"service_tier": "fast"}, 1, "priority"),
        ({"service_tier": "scale"}, 0, "default"),
        ({"priority": -5}, 5, None),
        ({"priority": 7}, -7, None),
    ],
)
def test_priority_reaches_the_engine_and_the_answer_has_the_tier(
    recorder: ApiServer,
    received: list[GenerationRequest],
    prefix: str,
    endpoint: str,
    sent: dict[str, object],
    priority: int,
    tier: str | None,
) -> None:
    answer = recorder.post(f"{prefix}/{endpoint}", make_body(endpoint, **sent)).json()

    assert received[-1].priority == priority
    if endpoint == "responses":  # where it is required
        assert answer["service_tier"] == (tier or "default")
        return
    assert answer.get("service_tier", None) == tier
    assert ("service_tier" in answer) == (tier is not None)


@pytest.mark.parametrize("endpoint", TABLES)
def test_priority_and_service_tier_at_once_are_rejected(api: ApiServer, prefix: str, endpoint: str) -> None:
    answer = api.post(f"{prefix}/{endpoint}", make_body(endpoint, priority=1, service_tier="auto"))

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "service_tier")


# --- tokens that end an answer ---


def choice_of(api: ApiServer, path: str, **sent: object) -> tuple[str, str, int]:
    """Text, finish reason, and number of tokens."""
    raw = api.post(path, make_body("completions", **sent)).json()
    choice = raw["choices"][0]
    return choice["text"], choice["finish_reason"], raw["usage"]["completion_tokens"]


@pytest.mark.parametrize(("prefix_", "text"), [("/v1", "He"), ("/inference/v1", "Hel")])
def test_a_stop_token_ends_an_answer_as_a_stop_string_does(api: ApiServer, prefix_: str, text: str) -> None:
    path = f"{prefix_}/completions"

    assert choice_of(api, path, stop_token_ids=[ord("l")]) == choice_of(api, path, stop="l") == (text, "stop", 3)
    for include, expected in ((True, "Hel"), (False, "He")):
        sent: dict[str, Any] = {"include_stop_str_in_output": include, "stop_token_ids": [ord("z"), ord("l")]}
        assert choice_of(api, path, **sent)[0] == expected


@pytest.mark.parametrize("include", [True, False])
def test_logprobs_end_with_the_text_at_a_stop_token(api: ApiServer, prefix: str, include: bool) -> None:
    sent = {"stop_token_ids": [ord("l")], "include_stop_str_in_output": include, "logprobs": 0}
    raw = api.post(f"{prefix}/completions", make_body("completions", **sent)).json()

    assert raw["choices"][0]["logprobs"]["tokens"] == list("Hel" if include else "He")


def test_a_stop_token_ends_an_answer_with_ignore_eos(prefix: str) -> None:
    engine = FakeEngine(lambda request, index: [*b"ab", IM_END, *b"cd!", *b"never"])
    sent = {"include_stop_str_in_output": False}
    with serving(engine) as api:
        path = f"{prefix}/completions"
        assert choice_of(api, path, **sent) == ("ab", "stop", 3)
        assert choice_of(api, path, **sent, ignore_eos=True, stop_token_ids=[ord("!")]) == ("abcd", "stop", 6)


def test_stop_tokens_do_not_replace_the_models_end_tokens(prefix: str) -> None:
    with serving(FakeEngine(lambda request, index: [*b"ab", IM_END, *b"cd!"])) as api:
        assert choice_of(api, f"{prefix}/completions", stop_token_ids=[ord("!")])[0] == "ab"


@pytest.mark.parametrize("token", [-1, 10**6])
def test_a_stop_token_beyond_the_vocabulary_is_rejected(api: ApiServer, prefix: str, token: int) -> None:
    answer = api.post(f"{prefix}/completions", make_body("completions", stop_token_ids=[5, token]))

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stop_token_ids[1]")
    assert str(token) in answer.json()["error"]["message"]
