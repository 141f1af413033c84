"""The measurements of docs/reliability.md, and the tests that it lists."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentTypeError
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/reliability.md").read_text()


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_every_test_that_the_page_lists_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)

    assert len(named) > 20
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).is_file(), f"{file} {name}"


def test_the_page_has_the_rows_of_a_report_between_its_markers() -> None:
    from faults.rows import Row, table
    from reliability import MARKER, report

    rows = [Row("a fault", "what was measured", "3, 4")]
    assert table(rows).splitlines()[2:] == ["| a fault | what was measured | 3, 4 |"]
    assert report(rows, "the command").endswith(f"Command: `the command`\n\n{table(rows)}")
    inside = PAGE.partition(f"<!-- {MARKER} begin -->")[2].partition(f"<!-- {MARKER} end -->")[0]
    assert inside.startswith("\nMeasured ")
    assert table([]) in inside


def test_the_page_on_scale_has_the_rows_of_a_long_report_between_its_markers() -> None:
    from reliability import LONG_MARKER, long_measurements, names

    page = (ROOT / "docs/scale.md").read_text()
    inside = page.partition(f"<!-- {LONG_MARKER} begin -->")[2].partition(f"<!-- {LONG_MARKER} end -->")[0]
    assert inside.startswith("\nMeasured ")
    assert names("soak,keys", long_measurements()) == ["soak", "keys"]
    with pytest.raises(ArgumentTypeError, match="crowd: there are deploys, places, outage, keys, soak"):
        names("crowd", long_measurements())


def test_a_soak_of_replicas_reports_rows_memory_and_tokens() -> None:
    from faults.cluster_soak import soak_rows

    from support.cluster_soak import Outcome
    from support.stream_load import Seen

    mib = 2**20
    seen = Seen(Counter(a=3, b=4), Counter(a=1), Counter())
    outcome = Outcome(seen, 7, 90, 91, 2, {"a": [mib, 2 * mib, 3 * mib, 5 * mib], "proxy": [mib] * 4})

    found = [row.found for row in soak_rows(outcome, 20)]
    assert found == ["7, 1, 0; 7", "90, 91; 2", "a 1.0, 5.0; proxy 1.0, 1.0", "a 2.0; proxy 0.0"]


def test_a_percentile_is_a_measured_value() -> None:
    from faults.rows import median_and_worst, percentile

    assert [percentile([*range(100, 0, -1)], share) for share in (0.5, 0.95, 1)] == [50, 95, 100]
    assert percentile([7], 0.95) == 7
    assert median_and_worst([3, 1, 9]) == "3, 9"


def test_only_existing_measurements_can_be_selected() -> None:
    from reliability import MEASUREMENTS, names

    assert names(",".join(MEASUREMENTS)) == list(MEASUREMENTS)
    with pytest.raises(ArgumentTypeError, match="rain: there are hang-up, "):
        names("crowd,rain")


@pytest.mark.skipif(sys.platform != "linux", reason="the measurements read /proc")
def test_a_crowd_is_measured_on_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from faults import crowd
    from faults.rows import Options

    monkeypatch.setattr(crowd, "NUM_CLIENTS", 20)

    found = {row.measured: row.found for row in crowd.crowd(Options())}

    assert found["complete answers"] == "40 of 40"
    sockets = found["open sockets before, after, after the second time"].split(", ")
    assert sockets == sockets[:1] * 3


def test_a_soak_reports_growth_leaks_and_losses() -> None:
    from faults.memory import memory_rows
    from soak import Outcome

    mib = 2**20
    stats = {"running": 1, "waiting": 0, "blocks_total": 8, "blocks_free": 5}
    health = {"models": [{"stats": stats}], "ledger": {"written": 97, "waiting": 0, "lost": 3}}
    samples = [(1, 90 * mib), (10, 100 * mib), (50, 140 * mib), (100, 149 * mib)]
    outcome = Outcome(samples, Counter(chat=100), ["request 7"], health)

    assert [row.found for row in memory_rows(outcome, 100)] == ["90.0, 149.0", "49.0, 9.0", "1, 3, 97, 3"]
    problems = [problem.partition(":")[0] for problem in outcome.problems]
    assert problems == [
        "request 7",
        "memory grew by 9.0 MiB in the second half",
        "the engine still holds something",
        "rows are lost",
    ]
    stats |= {"running": 0, "blocks_free": 8}
    health["ledger"] = {"written": 100, "waiting": 0, "lost": 0}
    assert Outcome(samples[:3], Counter(chat=100), [], health).problems == []
