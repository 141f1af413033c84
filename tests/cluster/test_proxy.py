"""What HAProxy with the configuration of deploy/haproxy changes in requests and answers: nothing."""

from __future__ import annotations

import json
import re
import secrets
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from crossette.api.schema.common import ISOLATION_HEADER
from support.api_server import PREFIXES, say
from support.cluster_site import Site
from support.waiting import wait_until

pytestmark = pytest.mark.all

LIMIT_S = 60
CLIENT = httpx.Client(timeout=LIMIT_S, verify=False)
"""Without the certificates of authorities, which take longer to load than a test."""
TEXT = "0123456789äöü\n" * 5
USER = {"role": "user", "content": say(TEXT)}
REQUESTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat/completions", {"messages": [USER], "max_tokens": 60}),
    "completions": ("completions", {"prompt": [say(TEXT), "b"], "max_tokens": 60, "logprobs": 2}),
    "responses": ("responses", {"input": say(TEXT), "max_output_tokens": 60}),
    "messages": ("messages", {"messages": [USER], "max_tokens": 60}),
    "json": (
        "chat/completions",
        {"messages": [USER], "response_format": {"type": "json_object"}, "max_tokens": 9, "seed": 7},
    ),
    "an unknown field": ("chat/completions", {"messages": [USER], "nonsense": 1}),
    "an invalid value": ("completions", {"prompt": "a", "temperature": 9}),
    "an unknown model": ("completions", {"prompt": "a", "model": "none"}),
    "an unknown path": ("nothing", {"prompt": "a"}),
}
_CHANGING = re.compile(
    rb'"(?:id|created|created_at|completed_at|item_id|system_fingerprint)":\s*(?:"[^"]*"|\d+)|(?:resp|msg|rs|req)_\w+'
)
_OF_THE_CONNECTION = {"date", "connection", "keep-alive", "x-crossette-replica", "content-length"}


def ask(root: str, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer, without what differs between two equal requests."""
    headers = {"x-request-id": "the-id-of-a-client", ISOLATION_HEADER: secrets.token_hex()}
    response = CLIENT.post(f"{root}{path}", json=body, headers=headers)
    names = Counter(name for name, _ in response.headers.multi_items())
    assert names["x-request-id"] <= 1
    kept = {name: value for name, value in response.headers.items() if name not in _OF_THE_CONNECTION}
    timed = [name for name in kept if name.endswith(("-ms", "-duration", "-time", "-token"))]
    return response.status_code, {**kept, **dict.fromkeys(timed, "")}, _CHANGING.sub(b"", response.content)


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("case", REQUESTS)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_answers_through_the_proxy_equal_answers_without_it(site: Site, prefix: str, case: str, streamed: bool) -> None:
    path, fields = REQUESTS[case]
    body = {"model": "fake", "stream": streamed, **fields}

    through, direct = (ask(root, f"{prefix}/{path}", body) for root in (site.root, site.replicas[0].root))

    assert through == direct


def test_a_malformed_body_has_the_same_error(site: Site) -> None:
    through, direct = (
        CLIENT.post(f"{root}/v1/completions", content=b"{", headers={"x-request-id": "an-id"})
        for root in (site.root, site.replicas[0].root)
    )

    assert (through.status_code, through.content) == (direct.status_code, direct.content)
    assert through.status_code == 400


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_a_client_that_disconnects_at_the_proxy_ends_its_request(site: Site, streamed: bool) -> None:
    body = json.dumps({"model": "fake", "prompt": say("x" * 1900), "max_tokens": 2000, "stream": streamed}).encode()
    url = httpx.URL(site.root)
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: {url.netloc.decode()}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    )

    with socket.create_connection((url.host, url.port), timeout=LIMIT_S) as client:
        client.sendall(head + body)
        wait_until(lambda: sum(replica.num_running() for replica in site.replicas) == 1)

    wait_until(lambda: sum(replica.num_running() for replica in site.replicas) == 0)


def test_a_conversation_stays_on_its_replica_and_conversations_are_spread(site: Site) -> None:
    answered_by: dict[int, set[str]] = {}
    for number in range(16):
        messages = [{"role": "system", "content": "You help."}, {"role": "user", "content": f"Question {number}?"}]
        for _ in range(3):
            answer = CLIENT.post(
                f"{site.root}/v1/chat/completions",
                json={"model": "fake", "messages": messages, "max_tokens": 5},
            )
            answered_by.setdefault(number, set()).add(answer.headers["x-crossette-replica"])
            messages += [answer.json()["choices"][0]["message"], {"role": "user", "content": "And then?"}]

    assert {len(names) for names in answered_by.values()} == {1}
    assert set.union(*answered_by.values()) == {replica.name for replica in site.replicas}


@pytest.mark.parametrize("number", range(3))
def test_a_session_header_decides_alone(site: Site, number: int) -> None:
    names = {
        CLIENT.post(
            f"{site.root}/v1/completions",
            json={"model": "fake", "prompt": f"Text {turn}", "max_tokens": 1},
            headers={"x-session-affinity": f"session-{number}"},
        ).headers["x-crossette-replica"]
        for turn in range(6)
    }

    assert len(names) == 1
