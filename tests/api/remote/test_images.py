"""Images in messages are sent on to the server that runs the model, which decides whether it sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crossette.api.remote.request import prompt_size
from support.api_server import ApiServer, serving
from support.remotes import remote
from support.sse_server import DONE, Answer, ScriptedServer, finish_chunk
from support.sse_server import serving as scripted

DATA = "data:image/png;base64,iVBORw0KGgo="
HTTP = "https://example.com/cat.png"
HI = {"type": "text", "text": "Hi"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedServer]:
    with scripted(Answer([finish_chunk(), DONE])) as server:
        yield server


@pytest.fixture(scope="module")
def api(upstream: ScriptedServer) -> Iterator[ApiServer]:
    models = [remote(upstream.url, name="plain"), remote(upstream.url, name="fetching", image_urls=True)]
    with serving(remotes=models) as server:
        yield server


def image(url: Any, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def ask(api: ApiServer, *parts: dict[str, Any], model: str = "plain") -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": list(parts)}]}
    return api.post("/v1/chat/completions", body)


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (image(DATA), image(DATA)),
        (image(DATA, detail="low"), image(DATA, detail="low")),
        ({"type": "image_url", "image_url": DATA}, image(DATA)),
        (image("DATA:image/jpeg;base64,AAAA"), image("DATA:image/jpeg;base64,AAAA")),
        (image(DATA) | {"text": None, "cache_control": {"type": "ephemeral"}}, image(DATA)),
    ],
)
def test_an_image_reaches_the_upstream_where_it_was(
    api: ApiServer, upstream: ScriptedServer, part: Any, sent: Any
) -> None:
    answer = ask(api, HI, part, HI)

    assert answer.status_code == 200, answer.text
    assert upstream.bodies[-1]["messages"][1] == {"role": "user", "content": [HI, sent, HI]}


def test_an_http_url_is_sent_only_to_an_upstream_that_may_fetch_it(api: ApiServer, upstream: ScriptedServer) -> None:
    refused = ask(api, HI, image(HTTP))
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "messages[1].content[1].image_url.url")
    assert "as a data URL" in error["message"]

    assert ask(api, image(HTTP), model="fetching").status_code == 200
    assert upstream.bodies[-1]["messages"][1]["content"] == [image(HTTP)]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"type": "image_url"}, "image_url"),
        ({"type": "image_url", "image_url": {}}, "image_url.url"),
        *(
            (image(url), "image_url.url")
            for url in ("", "cat.png", "/etc/passwd", "file:///etc/passwd", "ftp://a/b", "data:text/html,x", "//a/b")
        ),
        ({"type": "image_url", "image_url": "cat.png"}, "image_url.url"),
        (image(5), "image_url.url"),
        (image(DATA, detail="tiny"), "image_url.detail"),
        (HI | {"image_url": {"url": DATA}}, "image_url"),
        ({"type": "video_url", "video_url": {"url": DATA}}, "type"),
        (image(DATA) | {"file": {"file_id": "a"}}, "file"),
    ],
)
@pytest.mark.parametrize("model", ["plain", "fetching"])
def test_what_is_no_image_is_refused_by_name(api: ApiServer, model: str, part: Any, field: str) -> None:
    answer = ask(api, part, model=model)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, f"messages[1].content[0].{field}")


def test_an_image_counts_by_itself_not_by_its_bytes() -> None:
    def size(*urls: str) -> int:
        return prompt_size({"messages": [{"role": "user", "content": [HI, *map(image, urls)]}]})

    small, large = size(DATA), size(DATA + "A" * 10**6)
    assert small == large
    assert 900 < size(DATA, DATA) - small < 1100
