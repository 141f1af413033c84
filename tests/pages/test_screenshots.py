"""The main states of the pages as images. `scripts/test --all --write-docs tests/pages` writes them to docs/pages/."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import expect
from sqlalchemy import insert

from crossette.accounts.access import Limits
from crossette.accounts.database.database import Database
from crossette.accounts.database.tables import days
from crossette.accounts.open import Accounts, open_accounts
from crossette.accounts.settings import AccountSettings
from crossette.engines.openvino.engine import OpenVINOEngine
from support.api_server import ApiServer, serving
from support.browser import PHONE, Visit, Visiting

pytestmark = pytest.mark.all

IMAGES = Path(__file__).parents[2] / "docs/pages"
THEMES = ("light", "dark")
NUMBERS = count()
Shoot = Callable[[Visit, str], None]


@pytest.fixture(scope="module")
def api(real_engine: OpenVINOEngine) -> Iterator[ApiServer]:
    with serving(real_engine) as server:
        yield server


@pytest.fixture
def shoot(request: pytest.FixtureRequest, tmp_path: Path) -> Shoot:
    folder = IMAGES if request.config.getoption("--write-docs") else tmp_path

    def write(tab: Visit, name: str) -> None:
        folder.mkdir(exist_ok=True)
        image = tab.page.screenshot(path=folder / f"{name}.png", animations="disabled", caret="hide")
        assert image.startswith(b"\x89PNG")

    return write


def seeded(visit: Visiting, api: ApiServer, theme: str, **more: object) -> Visit:
    """A playground whose answers have no drafts of earlier ones, so that their times are those of a first answer."""
    isolated = f"prompt_cache_isolation_key={next(NUMBERS)}"
    settings = f"/playground#seed=3&temperature=0.8&max_tokens=48&{isolated}"
    return visit(api.root, color_scheme=theme, **more).playground(settings)


@pytest.mark.parametrize("theme", THEMES)
def test_tokens(api: ApiServer, visit: Visiting, shoot: Shoot, theme: str) -> None:
    tab = seeded(visit, api, theme).ask("What is the capital of France?")
    tab.page.get_by_role("button", name="Tokens", exact=True).click()
    tab.page.locator(".token").nth(3).click()
    shoot(tab, f"tokens-{theme}")


@pytest.mark.parametrize("theme", THEMES)
def test_comparison(api: ApiServer, visit: Visiting, shoot: Shoot, theme: str) -> None:
    tab = seeded(visit, api, theme)
    tab.page.get_by_role("button", name="Compare").click()
    tab.page.get_by_label("Settings of B").get_by_label("Dialect").select_option("fireworks")
    tab.ask("Name three rivers of France.")
    expect(tab.page.locator(".verdict")).to_be_visible()
    shoot(tab, f"compare-{theme}")


@pytest.mark.parametrize("theme", THEMES)
def test_a_phone(api: ApiServer, visit: Visiting, shoot: Shoot, theme: str) -> None:
    shoot(seeded(visit, api, theme, viewport=PHONE).ask("What is the capital of France?"), f"phone-{theme}")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("view", ["keys", "usage"])
def test_administration(visit: Visiting, shoot: Shoot, tmp_path: Path, view: str, theme: str) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with open_accounts(AccountSettings(url)) as opened:
        key = _fill(opened, url)
        with serving(access=opened.access, ledger=opened.ledger, keys=opened.keys) as server:
            tab = visit(server.root, color_scheme=theme)
            tab.page.add_init_script(f"sessionStorage.setItem('crossette-key', '{key}')")
            tab.open(f"/admin#{view}").page.locator(".scrolling table").wait_for()
            shoot(tab, f"{view}-{theme}")


def _fill(accounts: Accounts, url: str) -> str:
    """Keys, and a month of usage. Returns the text of an admin key."""
    _, text = accounts.keys.create("boss", is_admin=True)
    now = datetime.now(UTC)
    limits = Limits(requests_per_minute=60, total_tokens=1_000_000)
    alice, _ = accounts.keys.create("alice", limits=limits, expires_at=now + timedelta(days=90))
    ci, _ = accounts.keys.create("ci", models=frozenset({"fake"}), limits=Limits(concurrent_requests=2))
    accounts.keys.create("old laptop")
    accounts.keys.revoke("old laptop")
    database = Database(url)
    with database.write_exclusively() as connection:
        for number in range(24):
            for key, factor in ((alice, 3), (ci, 1)):
                tokens = factor * (700 + 400 * ((number * 7) % 5))
                connection.execute(
                    insert(days).values(
                        day=(now - timedelta(days=number)).date().isoformat(),
                        key_id=key.id,
                        model="fake",
                        requests=factor * 12,
                        errors=number % 3,
                        prompt_tokens=2 * tokens,
                        cached_tokens=tokens,
                        completion_tokens=tokens,
                        reasoning_tokens=0,
                        cost=None,
                    )
                )
    database.close()
    accounts.access.refresh()
    accounts.ledger.load()
    return text
