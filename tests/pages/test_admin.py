"""Administration in a real browser: keys made, limited, used up and revoked; a pull with progress; usage and status."""

from __future__ import annotations

import csv
import dataclasses
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from crossette.accounts.access import Caller
from crossette.accounts.key_accounts import LocalAccounts
from crossette.accounts.limits import Limiter
from crossette.accounts.open import Accounts, open_accounts
from crossette.accounts.settings import AccountSettings
from crossette.api.guards.admission import AdmissionController
from crossette.api.models import ServedModels
from crossette.models.fetch import Progress
from crossette.models.store import StoredModel
from crossette.pool.pool import ModelPool
from crossette.server.pulling import ModelPuller
from crossette.testing.fake_engine import FakeEngine
from support.api_server import LIMIT_S, ApiServer, parrot, say, serving
from support.browser import PHONE, Visit, Visiting
from support.model_loads import Loads

pytestmark = pytest.mark.all


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    with open_accounts(AccountSettings(f"sqlite:///{tmp_path / 'keys.db'}")) as opened:
        yield opened


@pytest.fixture
def api(accounts: Accounts) -> Iterator[ApiServer]:
    admissions = AdmissionController(LocalAccounts(Limiter(accounts.ledger.used_tokens)))
    engine = FakeEngine(parrot)
    with serving(
        engine, access=accounts.access, ledger=accounts.ledger, keys=accounts.keys, admissions=admissions
    ) as server:
        yield server


@pytest.fixture
def admin(api: ApiServer, accounts: Accounts, visit: Visiting) -> Visit:
    """A tab of an admin."""
    _, text = accounts.keys.create("boss", is_admin=True)
    accounts.access.refresh()
    tab = visit(api.root, expects_failures=True)
    tab.page.add_init_script(f"sessionStorage.setItem('crossette-key', '{text}')")
    tab.open("/admin")
    tab.page.get_by_role("button", name="Create a key").wait_for()
    return tab


def create(admin: Visit, name: str, **fields: str) -> str:
    """Create a key in the page, and return its secret."""
    page = admin.page
    page.get_by_role("button", name="Create a key").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("[name=name]").fill(name)
    for field, value in fields.items():
        dialog.locator(f"[name={field}]").fill(value)
    dialog.get_by_role("button", name="Create", exact=True).click()
    secret = page.locator(".secret").inner_text()
    page.get_by_role("button", name="Done").click()
    expect(page.locator(".secret")).to_have_count(0)
    return secret


def ask(api: ApiServer, accounts: Accounts, key: str) -> int:
    accounts.access.refresh()
    body = {"model": "fake", "prompt": say("a"), "max_tokens": 1}
    return api.post("/v1/completions", body, {"authorization": f"Bearer {key}"}).status_code


def test_a_key_is_made_limited_used_up_and_revoked(admin: Visit, api: ApiServer, accounts: Accounts) -> None:
    page = admin.page
    secret = create(admin, "alice", expires="30d")
    row = page.get_by_role("row", name="alice")
    expect(row).to_contain_text("active")
    assert secret not in page.content()

    row.get_by_role("button", name="Edit").click()
    page.get_by_role("dialog").locator("[name=total_tokens]").fill("8")
    page.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("0 of 8")
    assert [ask(api, accounts, secret) for _ in range(2)] == [200, 429]
    admin.open("/admin")
    expect(page.get_by_role("row", name="alice")).to_contain_text("7 of 8")

    page.get_by_role("row", name="alice").get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row", name="alice")).to_contain_text("revoked")
    assert ask(api, accounts, secret) == 401


def test_a_rotated_secret_is_shown_once(admin: Visit, api: ApiServer, accounts: Accounts) -> None:
    old = create(admin, "ci")
    admin.page.get_by_role("row", name="ci").get_by_role("button", name="Rotate").click()
    admin.page.get_by_label("The old secret stays valid").select_option("0h")
    admin.page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    new = admin.page.locator(".secret").inner_text()

    assert [ask(api, accounts, secret) for secret in (old, new)] == [401, 200]


def test_the_servers_own_message_is_shown_in_the_form(admin: Visit) -> None:
    admin.page.get_by_role("button", name="Create a key").click()
    dialog = admin.page.get_by_role("dialog")
    dialog.locator("[name=name]").fill("boss")
    dialog.get_by_role("button", name="Create", exact=True).click()

    expect(dialog.get_by_role("alert")).to_contain_text("A key named 'boss' exists")


def test_the_first_key_is_made_on_the_command_line(api: ApiServer, visit: Visiting) -> None:
    tab = visit(api.root).open("/admin")

    expect(tab.page.get_by_label("Keys")).to_contain_text("crossette keys create NAME --admin")
    assert tab.page.get_by_role("button", name="Create a key").count() == 0
    assert tab.violations() == []


def test_usage_is_a_table_a_plot_and_a_file(admin: Visit, api: ApiServer, accounts: Accounts, tmp_path: Path) -> None:
    secret = create(admin, "alice")
    assert ask(api, accounts, secret) == 200
    usage = "/v1/usage?group_by=key"
    for _ in range(LIMIT_S * 20):  # the ledger is written in the background
        if "alice" in api.get(usage, {"authorization": f"Bearer {_boss(admin)}"}).text:
            break
        threading.Event().wait(0.05)

    admin.page.get_by_role("button", name="Usage").click()
    row = admin.page.get_by_role("row", name="alice")
    expect(row.locator("td").nth(0)).to_have_text("1")
    expect(admin.page.locator(".plot canvas")).to_be_visible()
    for group, name in (("model", "fake"), ("day", datetime.now(UTC).date().isoformat())):
        admin.page.locator("label", has_text="By").locator("select").select_option(group)
        counts = admin.page.get_by_role("row", name=name).locator("td")
        expect(counts.nth(0)).to_have_text("1")
        assert [int(text) for text in counts.all_inner_texts()[1:4]] == [0, 6, 0]  # errors, prompt, cached
    with admin.page.expect_download() as saved:
        admin.page.get_by_role("button", name="CSV").click()
    saved.value.save_as(tmp_path / "usage.csv")
    (only,) = csv.DictReader((tmp_path / "usage.csv").read_text().splitlines())
    assert (only["key_name"], only["model"], only["requests"]) == ("alice", "fake", "1")


def _boss(admin: Visit) -> str:
    key: str = admin.page.evaluate("sessionStorage.getItem('crossette-key')")
    return key


def test_the_status_is_that_of_the_metrics(admin: Visit, api: ApiServer) -> None:
    api.engine.pause()
    connections = [api.begin("/v1/completions", {"model": "fake", "prompt": "a"}) for _ in range(2)]
    headers = {"authorization": f"Bearer {_boss(admin)}"}
    thread = threading.Thread(
        target=lambda: api.post("/v1/completions", {"model": "fake", "prompt": say("a" * 9)}, headers)
    )
    thread.start()
    api.engine.wait_for(lambda stats: stats.waiting == 1)
    api.engine.step()
    admin.page.get_by_role("button", name="Status").click()

    card = admin.page.locator(".card", has_text="fake")
    expect(card.locator("dd").first).to_have_text("1")
    expect(card).to_contain_text("blocks in use")
    expect(admin.page.locator(".plot canvas")).to_have_count(2)
    api.engine.resume()
    thread.join(LIMIT_S)
    expect(card.locator("dd").first).to_have_text("0")
    for connection in connections:
        connection.close()


class Downloads:
    """A download that waits in its middle."""

    def __init__(self) -> None:
        self.may_continue = threading.Event()
        self.removed: list[str] = []
        self._loads = Loads(parrot)

    def pull(self, reference: str, show: Progress) -> StoredModel:
        show("Downloading", 25 * 2**20, 100 * 2**20)
        assert self.may_continue.wait(LIMIT_S)
        stored: Any = SimpleNamespace(name=reference)
        return stored  # type: ignore[no-any-return]

    def source(self, stored: StoredModel) -> Any:
        return dataclasses.replace(self._loads.source(stored.name), stored=stored.name)


def test_a_model_is_pulled_loaded_unloaded_and_removed(visit: Visiting) -> None:
    downloads = Downloads()
    models = ServedModels(ModelPool([]))
    puller = ModelPuller(models, downloads.pull, downloads.source, downloads.removed.append)
    name = "smollm2-135m-instruct"
    api = visit.server(serving(models=models, puller=puller))
    page = visit(api.root).open("/admin#models").page
    page.get_by_text("This server has no models yet").wait_for()
    page.get_by_label("Pull a model").fill(name)
    page.get_by_role("button", name="Pull").click()
    expect(page.locator(".pulling")).to_contain_text("Downloading: 25.0 MiB of 100 MiB")
    assert page.get_by_role("progressbar").get_attribute("value") == str(25 * 2**20)
    downloads.may_continue.set()
    row = page.get_by_role("row", name=name)
    expect(row).to_contain_text("cold")

    row.get_by_role("button", name="Load").click()
    expect(row).to_contain_text("awake")
    row.get_by_role("button", name="Unload").click()
    expect(row).to_contain_text("asleep")
    row.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.get_by_text("This server has no models yet").wait_for()
    assert downloads.removed == [name]


def test_a_user_is_told_that_an_admin_is_needed(visit: Visiting) -> None:
    api = visit.server(serving(callers={"": Caller("key-u", "user")}))
    page = visit(api.root, expects_failures=True).open("/admin").page

    expect(page.get_by_role("alert")).to_contain_text("Only an admin key may manage keys")


def test_another_page_can_neither_frame_it_nor_send_in_its_name(
    api: ApiServer, accounts: Accounts, browser: Browser
) -> None:
    page = browser.new_page()
    document = f'<iframe src="{api.root}/admin"></iframe>'
    page.route("http://other.example/", lambda route: route.fulfill(body=document, content_type="text/html"))
    page.goto("http://other.example/")

    assert page.frames[1].url.startswith("chrome-error:")
    send = "url => fetch(url, {method: 'POST', body: '{\"name\": \"mine\"}'}).then(() => 'sent', () => 'refused')"
    assert page.evaluate(send, f"{api.root}/admin/keys") == "refused"
    assert accounts.keys.list() == []
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_and_it_fits_a_phone(admin: Visit, api: ApiServer, visit: Visiting, theme: str) -> None:
    tab = visit(api.root, color_scheme=theme, viewport=PHONE)
    tab.page.add_init_script(f"sessionStorage.setItem('crossette-key', '{_boss(admin)}')")
    for view in ("keys", "usage", "status", "models"):
        tab.open(f"/admin?{view}#{view}")  # another hash alone is no other document
        tab.page.get_by_label(view.capitalize(), exact=True).last.wait_for()
        assert tab.violations() == []
        assert tab.overflow <= 0
    tab.open("/admin").page.get_by_role("button", name="Create a key").click()
    assert tab.violations() == []
