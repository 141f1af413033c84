"""The server of the benchmarks: what it leaves out when the cost of guards and metrics is measured."""

from __future__ import annotations

import pytest

from support.installed import ROOT
from support.records import make_record

NAME = "crossette_prompt_tokens_total"


def test_a_plain_app_counts_no_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from fake_server import make_app

    plain, other = make_app(is_plain=True), make_app()
    for app in (plain, other):
        app.metrics.note(make_record())

    counted = [app.metrics.registry.get_sample_value(NAME, {"model": "fake"}) for app in (plain, other)]
    assert counted == [None, 20]
