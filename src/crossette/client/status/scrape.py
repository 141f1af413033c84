"""A server's metrics page, fetched and read. It does not know what the metrics mean."""

from __future__ import annotations

import time

import httpx
from prometheus_client.parser import text_string_to_metric_families

from crossette.client.remote import ServerURL, reading_certificates, told, why
from crossette.errors import CrossetteError

_TIMEOUT_S = 10.0


class StatusFailed(CrossetteError):
    """The server was not reached, or does not tell its metrics."""


class Scrape:
    """The metrics at one moment. Raises ValueError or LookupError for a page that is not crossette's."""

    def __init__(self, page: str, at_s: float) -> None:
        self.at_s = at_s
        families = text_string_to_metric_families(page)
        self._samples = [sample for family in families for sample in family.samples]
        self.version = self._labels("crossette_build_info", "version")[0]

    def models(self) -> list[str]:
        return self._labels("crossette_model_info", "model")

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series of a name that have these labels."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """A histogram's cumulated counts by upper bound, summed over the series that have these labels."""
        found: dict[float, float] = {}
        for sample in self._samples:
            if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items():
                bound = float(sample.labels["le"])
                found[bound] = found.get(bound, 0) + sample.value
        return found

    def _labels(self, name: str, label: str) -> list[str]:
        return [sample.labels[label] for sample in self._samples if sample.name == name]


class MetricsPage:
    """Where a server tells its metrics. `url` may be the server's root or either base URL of its API."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self._url = f"{ServerURL.parse(url).root}/metrics"
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        with reading_certificates():
            self._http = httpx.Client(headers=headers, timeout=_TIMEOUT_S)

    def read(self) -> Scrape:
        """The metrics now. Raises StatusFailed."""
        try:
            response = self._http.get(self._url)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise StatusFailed(f"Can't read {self._url}: {why(error)}") from error
        if response.status_code != 200:
            raise StatusFailed(f"{self._url} answers {response.status_code}: {told(response.content)}")
        try:
            return Scrape(response.text, time.monotonic())
        except (ValueError, LookupError) as error:
            raise StatusFailed(f"{self._url} tells no metrics of crossette: {error}") from error

    def close(self) -> None:
        self._http.close()
