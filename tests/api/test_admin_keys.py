"""Keys are created, limited, rotated and revoked over HTTP, by admins only, and the log has no secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from crossette.accounts.database.authenticator import KeyAuthenticator
from crossette.accounts.key_accounts import LocalAccounts
from crossette.accounts.limits import Limiter
from crossette.accounts.open import Accounts, open_accounts
from crossette.accounts.settings import AccountSettings
from crossette.api.guards.admission import AdmissionController
from support.api_server import ApiServer, say, serving

NAMES = ("id", "object", "name", "state", "is_admin", "created_at", "expires_at", "revoked_at", "previous_secret_until")


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    with open_accounts(AccountSettings(f"sqlite:///{tmp_path / 'keys.db'}")) as opened:
        yield opened


@pytest.fixture
def api(accounts: Accounts) -> Iterator[ApiServer]:
    admissions = AdmissionController(LocalAccounts(Limiter(accounts.ledger.used_tokens)))
    with serving(access=accounts.access, ledger=accounts.ledger, keys=accounts.keys, admissions=admissions) as server:
        yield server


@pytest.fixture
def boss(accounts: Accounts) -> str:
    """The text of an admin key."""
    _, text = accounts.keys.create("boss", is_admin=True)
    accounts.access.refresh()
    return text


def send(api: ApiServer, key: str, path: str = "", body: object = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    if body is None:
        return api.get(f"/admin/keys{path}", headers)
    return api.post(f"/admin/keys{path}", body, headers)


def created(api: ApiServer, boss: str, **sent: object) -> Any:
    answer = send(api, boss, "", {"name": "alice", **sent})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask(api: ApiServer, access: KeyAuthenticator, key: str, **sent: object) -> int:
    access.refresh()  # instead of a second's wait
    body = {"model": "fake", "prompt": say("a"), **sent}
    return api.post("/v1/completions", body, {"authorization": f"Bearer {key}"}).status_code


def test_a_key_is_created_used_and_revoked(api: ApiServer, accounts: Accounts, boss: str) -> None:
    key = created(api, boss)

    assert ask(api, accounts.access, key["key"]) == 200
    assert send(api, boss, f"/{key['id']}/revoke", {}).json()["state"] == "revoked"
    assert ask(api, accounts.access, key["key"]) == 401
    assert send(api, boss, f"/{key['id']}").json()["revoked_at"] is not None


def test_the_list_has_all_keys_and_no_secret(api: ApiServer, boss: str) -> None:
    key = created(api, boss, models=["fake"], limits={"total_tokens": 1000}, expires="30d")

    answer = send(api, boss)

    first, second = answer.json()["data"]
    assert (first["name"], first["is_admin"], first["models"]) == ("boss", True, None)
    assert (second["id"], second["models"], second["limits"]["total_tokens"]) == (key["id"], ["fake"], 1000)
    assert second["expires_at"] - second["created_at"] == pytest.approx(30 * 86400, abs=2)
    assert set(second) == {*NAMES, "models", "limits", "used_tokens"}
    assert key["key"] not in answer.text
    assert boss not in answer.text


def test_a_budget_is_used_up(api: ApiServer, accounts: Accounts, boss: str) -> None:
    key = created(api, boss, limits={"total_tokens": 8})

    statuses = [ask(api, accounts.access, key["key"], max_tokens=1) for _ in range(3)]

    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert send(api, boss, f"/{key['id']}").json()["used_tokens"] == 7


def test_a_key_is_changed_in_place(api: ApiServer, accounts: Accounts, boss: str) -> None:
    key = created(api, boss, expires="1d", limits={"total_tokens": 5, "concurrent_requests": 2})
    path = f"/{key['id']}"

    changed = send(api, boss, path, {"name": "bob", "expires": None, "limits": {"total_tokens": None}}).json()

    assert (changed["name"], changed["expires_at"]) == ("bob", None)
    assert (changed["limits"]["total_tokens"], changed["limits"]["concurrent_requests"]) == (None, 2)
    assert ask(api, accounts.access, key["key"]) == 200
    assert send(api, boss, path, {"models": ["other"]}).json()["models"] == ["other"]
    assert ask(api, accounts.access, key["key"]) == 404
    assert send(api, boss, path, {"models": None, "is_admin": True}).json()["is_admin"]
    accounts.access.refresh()
    assert send(api, key["key"]).status_code == 200


def test_a_rotated_key_has_another_secret(api: ApiServer, accounts: Accounts, boss: str) -> None:
    key = created(api, boss)

    overlapping = send(api, boss, f"/{key['id']}/rotate", {"overlap": "24h"}).json()
    assert overlapping["id"] == key["id"]
    assert [ask(api, accounts.access, text) for text in (key["key"], overlapping["key"])] == [200, 200]
    assert overlapping["previous_secret_until"] is not None

    rotated = api.post(f"/admin/keys/{key['id']}/rotate", b"", {"authorization": f"Bearer {boss}"}).json()
    assert [ask(api, accounts.access, text) for text in (overlapping["key"], rotated["key"])] == [401, 200]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"name": ""}, None),
        ("", {"name": "boss"}, None),
        ("", {}, "name"),
        ("", {"name": "a", "expires": "tomorrow"}, "expires"),
        ("", {"name": "a", "expires": "2020-01-01"}, None),
        ("", {"name": "a", "limits": {"total_tokens": 0}}, "limits.total_tokens"),
        ("", {"name": "a", "limits": {"tokens": 5}}, "limits.tokens"),
        ("", {"name": "a", "role": "x"}, "role"),
        ("/{id}", {}, None),
        ("/{id}", {"name": None}, "name"),
        ("/{id}/rotate", {"overlap": "soon"}, "overlap"),
    ],
)
def test_an_invalid_request_is_refused(
    api: ApiServer, boss: str, path: str, body: dict[str, object], param: str | None
) -> None:
    (only,) = send(api, boss).json()["data"]

    answer = send(api, boss, path.format(id=only["id"]), body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert len(send(api, boss).json()["data"]) == 1


def test_an_unknown_key_is_not_found(api: ApiServer, boss: str) -> None:
    for path, body in (("/key-none", None), ("/key-none", {"name": "a"}), ("/key-none/revoke", {})):
        assert send(api, boss, path, body).status_code == 404


def test_only_admins_manage_keys(api: ApiServer, accounts: Accounts, boss: str) -> None:
    key = created(api, boss)
    accounts.access.refresh()

    for path, body in (("", None), ("", {"name": "x"}), (f"/{key['id']}", {}), (f"/{key['id']}/revoke", {})):
        assert send(api, key["key"], path, body).status_code == 403
        assert send(api, "sk-none", path, body).status_code == 401


def test_the_first_key_is_not_created_over_http(api: ApiServer, accounts: Accounts) -> None:
    answer = send(api, "none", "", {"name": "mine", "is_admin": True})

    assert answer.status_code == 403
    assert "on the machine of the server" in answer.json()["error"]["message"]
    assert send(api, "none").json()["data"] == []
    assert not accounts.keys.list()


def test_a_page_of_another_origin_cannot_change_keys(api: ApiServer, boss: str) -> None:
    headers = {"authorization": f"Bearer {boss}", "origin": "https://other.example"}

    assert api.post("/admin/keys", {"name": "a"}, headers).status_code == 403
    assert len(send(api, boss).json()["data"]) == 1


def test_a_server_without_a_database_has_no_keys_to_manage() -> None:
    with serving() as server:
        answer = server.get("/admin/keys")

    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "This server has no database of keys.")


def test_every_change_is_logged_without_a_secret(api: ApiServer, boss: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        key = created(api, boss)
        rotated = send(api, boss, f"/{key['id']}/rotate", {}).json()
        send(api, boss, f"/{key['id']}", {"name": "bob"})
        send(api, boss, f"/{key['id']}/revoke", {})

    (admin, *_) = send(api, boss).json()["data"]
    by = f"by {admin['id']} (boss)"
    messages = [record.getMessage() for record in caplog.records if record.name == "crossette.api.admin.keys"]
    assert messages == [
        f"The key {key['id']} (alice) was created {by}",
        f"The key {key['id']} (alice) was rotated {by}",
        f"The key {key['id']} (bob) was updated {by}",
        f"The key {key['id']} (bob) was revoked {by}",
    ]
    assert not any(secret in caplog.text for secret in (boss, key["key"], rotated["key"]))
