"""docs/metrics.md, generated from the registry by `scripts/docs` and checked by a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import Metric

from crossette.api.app import App
from crossette.api.models import ServedModels
from crossette.observability.metrics import Metrics
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.records import make_record
from support.remotes import remote

PAGE = Path(__file__).parents[2] / "docs/metrics.md"

HEAD = """\
# Metrics

`GET /metrics` returns them in Prometheus' text format, or in OpenMetrics if the client accepts it.
`docs/grafana.json` is a Grafana dashboard; `crossette status` shows some of them in the terminal.

- Names have the prefix `crossette_`, base units and, for counters, the suffix `_total`, as Prometheus recommends.
- A histogram has series `_bucket`, `_sum` and `_count`.
- `model` is the name of the served model, also if an alias was requested. No label contains client input.
- Engine metrics change with every step, request metrics when a request finishes.
- `process_*` are the standard process metrics of Prometheus' client.

A scrape configuration. Once keys exist, or with `--allow-anonymous`, it needs `authorization`:
a key of `crossette keys create NAME --admin`.

```yaml
scrape_configs:
  - job_name: crossette
    static_configs: [{targets: ["127.0.0.1:8000"]}]
    authorization: {credentials_file: /etc/prometheus/crossette.key}
```

`scripts/docs` generates this page from the registry in `src/crossette/observability/metrics.py`.
"""


def page() -> str:
    families = [family for family in example().registry.collect() if family.name.startswith("crossette_")]
    engine = [family for family in families if is_of_engine(family)]
    rest = [family for family in families if not is_of_engine(family)]
    return "\n".join([HEAD, *_section("Requests and the server", rest), *_section("Engines", engine)])


def example() -> Metrics:
    """The metrics of a server with a completed and a failed request."""
    remotes = {"large": remote("http://127.0.0.1:8080/v1", name="large")}
    metrics = App(ServedModels(ModelPool.of({"fake": FakeEngine()}), remotes=remotes)).metrics
    metrics.note(make_record())
    metrics.note(make_record(status=500, error="internal", work=None))
    return metrics


def is_of_engine(family: Metric) -> bool:
    """Whether it is an engine metric."""
    return family.name in {
        metric.name for metric in App(ServedModels(ModelPool.of({"fake": FakeEngine()}))).metrics.engines.collect()
    }


def shown_name(family: Metric) -> str:
    """The name in queries."""
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def labels_of(family: Metric) -> list[str]:
    return sorted({label for sample in family.samples for label in sample.labels} - {"le"})


def _section(title: str, families: list[Metric]) -> Iterator[str]:
    yield from (f"## {title}", "", "| metric | type | labels | |", "|---|---|---|---|")
    for family in families:
        labels = ", ".join(f"`{label}`" for label in labels_of(family))
        yield f"| `{shown_name(family)}` | {family.type} | {labels} | {family.documentation} |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
