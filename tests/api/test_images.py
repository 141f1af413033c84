"""Images in chat messages, with a real engine and a tiny model that sees."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from crossette.accounts.responses import MemoryResponses
from crossette.api.image_fetch import ImageFetcher
from crossette.api.images import decoded, expanded
from crossette.api.responses.service import ResponsesService
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.errors import InvalidRequest
from crossette.types import PromptImage
from support.api_server import ApiServer, serving
from support.vision_model import Case, cases, data_url, picture, vision_files
from support.web_host import web_host

pytest.importorskip("PIL.Image")

MODEL = "tiny-smolvlm"
HI = {"type": "text", "text": "Hi"}
WIDE, OTHER, *_, TWO, TEXT = cases()


@pytest.fixture(scope="module")
def engine() -> Iterator[OpenVINOEngine]:
    made = OpenVINOEngine.load(vision_files(), OpenVINOSettings(kv_cache="16MiB", max_image_pixels=100_000))
    yield made
    made.close()


@pytest.fixture(scope="module")
def api(engine: OpenVINOEngine) -> Iterator[ApiServer]:
    with serving(engine, max_images=3) as server:
        yield server


def image(url: Any, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def content(case: Case) -> list[dict[str, Any]]:
    return [*(image(data_url(name)) for name in case.images), {"type": "text", "text": case.text}]


def ask(api: ApiServer, *parts: dict[str, Any], **more: Any) -> Any:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": list(parts)}],
        "temperature": 0,
        "max_tokens": 24,
        "ignore_eos": True,
        **more,
    }
    return api.post("/v1/chat/completions", body)


@pytest.mark.parametrize("case", cases(), ids=lambda case: "+".join(case.images) or "text")
def test_the_answer_is_that_of_transformers(api: ApiServer, case: Case) -> None:
    answer = ask(api, *content(case), return_token_ids=True, logprobs=True)

    assert answer.status_code == 200, answer.text
    assert answer.json()["prompt_token_ids"] == case.prompt
    assert answer.json()["choices"][0]["token_ids"] == case.tokens
    assert answer.json()["usage"]["prompt_tokens"] == len(case.prompt)


def test_a_text_that_is_no_list_is_shown_to_a_template_of_parts(api: ApiServer) -> None:
    messages = [{"role": "user", "content": TEXT.text}]
    answer = ask(api, messages=messages, return_token_ids=True)

    assert answer.json()["prompt_token_ids"] == TEXT.prompt


def test_a_stream_has_the_same_text(api: ApiServer) -> None:
    given: Any = {"model": MODEL, "messages": [{"role": "user", "content": content(TWO)}], "temperature": 0}
    whole = api.sdk("/v1").chat.completions.create(**given, max_tokens=24)
    chunks = api.sdk("/v1").chat.completions.create(**given, max_tokens=24, stream=True)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content


def test_the_second_turn_reads_the_image_from_the_prefix_cache(api: ApiServer) -> None:
    first = {"role": "user", "content": content(WIDE)}
    said = {"role": "assistant", "content": "Nothing."}
    one = ask(api, messages=[first], prompt_cache_isolation_key="turns").json()["usage"]
    two = ask(api, messages=[first, said, {"role": "user", "content": "Why?"}], prompt_cache_isolation_key="turns")
    other = ask(api, messages=[{"role": "user", "content": content(OTHER)}], prompt_cache_isolation_key="turns")

    assert one["prompt_tokens_details"]["cached_tokens"] == 0
    assert two.json()["usage"]["prompt_tokens_details"]["cached_tokens"] >= one["prompt_tokens"] // 32 * 32
    assert other.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_low_detail_takes_fewer_tokens(api: ApiServer) -> None:
    def size(**more: Any) -> int:
        return int(ask(api, HI, image(data_url("wide"), **more)).json()["usage"]["prompt_tokens"])

    assert size(detail="auto") == size(detail="high") == size()
    assert size(detail="low") == size() - 2 * (16 + 2) - 2  # two tiles with two marks each, and two line breaks


def test_the_tokenizer_counts_images(api: ApiServer) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": content(TWO)}], "add_generation_prompt": True}

    assert api.post("/tokenize", body).json()["tokens"] == TWO.prompt


def test_a_text_cannot_stand_for_an_image(api: ApiServer) -> None:
    marked = {"type": "text", "text": "<image>"}

    assert ask(api, image(data_url("wide")), marked).status_code == 200
    refused = ask(api, image(data_url("wide")), marked, safe_tokenization=False)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages")
    assert "1 images" in refused.json()["error"]["message"]


def png(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://example.com/cat.png", "fetches no images from"),
        ("http://127.0.0.1/cat.png", "fetches no images from"),
        ("data:image/png,abc", "in base64"),
        ("data:image/png;base64", "in base64"),
        ("data:image/png;base64,%%", "no base64"),
        (png(b"nothing"), "no image"),
        (png(picture("wide")[:200]), "cannot be decoded"),
    ],
)
def test_an_image_that_cannot_be_read_is_named(api: ApiServer, url: str, text: str) -> None:
    answer = ask(api, HI, image(url))

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "messages[0].content[1].image_url.url"), error
    assert text in error["message"]


def test_an_image_of_an_allowed_host_is_fetched(engine: OpenVINOEngine) -> None:
    with web_host(body=picture("wide")) as (port, _):
        fetcher = ImageFetcher(hosts=[f"localhost:{port}"], max_bytes=100_000, is_allowed=lambda _: True)
        with serving(engine, fetcher=fetcher) as api:
            fetched = ask(api, image(f"http://localhost:{port}/cat.png"), HI, return_token_ids=True).json()
            sent = ask(api, image(data_url("wide")), HI, return_token_ids=True).json()
            other = ask(api, image(f"http://localhost:{port + 1}/cat.png"))

    assert fetched["choices"][0]["token_ids"] == sent["choices"][0]["token_ids"]
    assert other.json()["error"]["param"] == "messages[0].content[0].image_url.url"


def test_limits_have_names(api: ApiServer) -> None:
    many = ask(api, *[image(data_url("wide"))] * 4)
    assert (many.status_code, many.json()["error"]["param"]) == (400, "messages")

    truncated = ask(api, image(data_url("wide")), prompt_truncate_len=50)
    assert (truncated.status_code, truncated.json()["error"]["param"]) == (400, "prompt_truncate_len")


@pytest.mark.parametrize("role", ["system", "assistant", "developer"])
def test_images_are_for_users(api: ApiServer, role: str) -> None:
    messages = [{"role": role, "content": [HI, image(data_url("wide"))]}, {"role": "user", "content": "Hi"}]
    answer = ask(api, messages=messages)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages[0].content[1].type")


def test_the_list_says_that_it_sees(api: ApiServer) -> None:
    (entry,) = api.get("/inference/v1/models").json()["data"]

    assert entry["supports_image_input"] is True


def test_urls_decode_to_their_bytes() -> None:
    assert decoded(png(b"abc")) == b"abc"
    assert decoded("data:image/png;name=x;BASE64,YWJj") == b"abc"
    for url in ("data:image/png;base64,YWJ", "data:image/png;base64,YW Jj"):
        with pytest.raises(InvalidRequest):
            decoded(url)


def test_each_token_of_an_image_is_replaced_in_order() -> None:
    first, second = (PromptImage(tokens=tokens, digest=b"") for tokens in ((9, 5, 9), (5, 5)))

    prompt, placed = expanded((1, 5, 2, 5), [first, second], 5)

    assert prompt == (1, 9, 5, 9, 2, 5, 5)
    assert [(each.start, each.end, each.image) for each in placed] == [(1, 4, first), (5, 7, second)]
    for tokens in ((1, 5), (5, 5, 5)):
        with pytest.raises(InvalidRequest, match="2 images"):
            expanded(tokens, [first, second], 5)


# --- the same images in other APIs ---


def of_responses(case: Case) -> dict[str, Any]:
    images = [{"type": "input_image", "image_url": data_url(name)} for name in case.images]
    return {"input": [{"role": "user", "content": [*images, {"type": "input_text", "text": case.text}]}]}


def of_messages(case: Case) -> dict[str, Any]:
    source = [
        {"type": "base64", "media_type": "image/png", "data": data_url(name).partition(",")[2]} for name in case.images
    ]
    images = [{"type": "image", "source": one} for one in source]
    return {"messages": [{"role": "user", "content": [*images, {"type": "text", "text": case.text}]}], "max_tokens": 4}


@pytest.mark.parametrize("case", [WIDE, TWO, TEXT], ids=lambda case: "+".join(case.images) or "text")
def test_other_apis_have_the_same_prompt(api: ApiServer, prefix: str, case: Case) -> None:
    response = api.post(f"{prefix}/responses", {"model": MODEL, "max_output_tokens": 4, **of_responses(case)})
    message = api.post(f"{prefix}/messages", {"model": MODEL, **of_messages(case)})
    counted = api.post(f"{prefix}/messages/count_tokens", {"model": MODEL, "messages": of_messages(case)["messages"]})

    assert response.json()["usage"]["input_tokens"] == len(case.prompt), response.text
    usage = message.json()["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == len(case.prompt), message.text
    assert counted.json()["input_tokens"] == len(case.prompt)


def test_a_response_that_is_continued_still_has_its_image(engine: OpenVINOEngine) -> None:
    service = ResponsesService(store=MemoryResponses(timedelta(hours=1)))
    with serving(engine, responses=service) as server:
        first = server.post("/v1/responses", {"model": MODEL, "max_output_tokens": 2, **of_responses(WIDE)}).json()
        given = {"model": MODEL, "max_output_tokens": 2, "input": "And now?"}
        more = server.post("/v1/responses", {**given, "previous_response_id": first["id"]}).json()
        items = server.get(f"/v1/responses/{first['id']}/input_items").json()["data"]

    assert more["usage"]["input_tokens"] > len(WIDE.prompt)
    assert more["usage"]["input_tokens_details"]["cached_tokens"] > 0
    [shown, _] = items[0]["content"]
    assert (shown["type"], shown["image_url"]) == ("input_image", data_url(WIDE.images[0]))


BROKEN = "data:image/png;base64,eA=="


def test_errors_name_an_image_as_the_client_sent_it(api: ApiServer) -> None:
    content = [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": BROKEN, "detail": "low"}]
    answer = api.post(
        "/v1/responses", {"model": MODEL, "instructions": "b", "input": [{"role": "user", "content": content}]}
    )
    assert answer.json()["error"]["param"] == "input[0].content[1].image_url.url"

    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
    body = {"model": MODEL, "system": "b", "max_tokens": 1, "messages": [{"role": "user", "content": [block]}]}
    answer = api.post("/v1/messages", body)
    assert answer.status_code == 400
    assert "image" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "input_image"}, "input[0].content[0].image_url"),
        ({"type": "input_image", "file_id": "file-1"}, "input[0].content[0].image_url"),
        ({"type": "input_image", "image_url": "file:///etc/passwd"}, "input[0].content[0].image_url"),
        ({"type": "input_image", "image_url": BROKEN, "detail": "most"}, "input[0].content[0].detail"),
    ],
)
def test_invalid_images_of_responses(api: ApiServer, part: dict[str, Any], param: str) -> None:
    answer = api.post("/v1/responses", {"model": MODEL, "input": [{"role": "user", "content": [part]}]})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
