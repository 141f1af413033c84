"""Errors for optional packages that are not installed."""

from __future__ import annotations

import sys

import pytest

from crossette.accounts.database import database
from crossette.errors import ConfigError
from crossette.observability.tracing import Tracer


def test_tracing_without_its_packages_is_an_error_with_install_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(ConfigError) as raised:
        Tracer("http://127.0.0.1:4318")

    assert str(raised.value) == (
        "--otlp-endpoint requires packages that are not installed (opentelemetry.sdk.trace). "
        "In a clone: .venv/bin/pip install -e '.[otel]'; otherwise: pip install 'crossette[otel]'"
    )


def test_postgresql_without_its_packages_is_an_error_with_install_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "find_spec", lambda name: None)

    with pytest.raises(
        ConfigError, match=r"\.venv/bin/pip install -e '\.\[postgres\]'; otherwise: pip install 'crossette"
    ):
        database.Database("postgresql://me@127.0.0.1/x")
