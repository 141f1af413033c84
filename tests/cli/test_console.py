"""Progress bars in a terminal."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from rich.console import Console

from crossette.cli import console


def test_a_download_has_its_speed_and_the_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Console(file=StringIO(), force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(console, "err", shown)
    clock = iter(range(10_000))
    monkeypatch.setattr(shown, "get_time", lambda: float(next(clock)))

    with console.progress() as show:
        show("Downloading o/r", 40_000_000, 100_000_000)  # an earlier download left these
        for done in range(41_000_000, 60_000_001, 1_000_000):
            show("Downloading o/r", done, 100_000_000)

    text = shown.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    assert "60.0/100.0 MB" in text
    speeds = {float(speed) for speed in re.findall(r"([\d.]+) MB/s", text)}
    assert speeds and max(speeds) <= 1.0
    assert re.search(r"0:0\d:\d\d", text)
