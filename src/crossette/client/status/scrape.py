"""Fetches and parses a server's metrics page."""

from __future__ import annotations

import time

import httpx
from prometheus_client.parser import text_string_to_metric_families

from crossette.client.remote import ServerURL, ca_errors, connection_error, error_text
from crossette.errors import CrossetteError

_TIMEOUT_S = 10.0


class StatusFailed(CrossetteError):
    """The server is unreachable, or has no metrics of crossette."""


class Scrape:
    """The metrics at one point in time. Raises ValueError or LookupError for a page of another program."""

    def __init__(self, page: str, at_s: float) -> None:
        self.at_s = at_s
        families = text_string_to_metric_families(page)
        self._samples = [sample for family in families for sample in family.samples]
        self.version = self._labels("crossette_build_info", "version")[0]

    def models(self) -> list[str]:
        return self._labels("crossette_model_awake", "model")

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series with this name and these labels."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """The cumulative counts of a histogram by upper bound, summed over the series with these labels."""
        found: dict[float, float] = {}
        for sample in self._samples:
            if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items():
                bound = float(sample.labels["le"])
                found[bound] = found.get(bound, 0) + sample.value
        return found

    def _labels(self, name: str, label: str) -> list[str]:
        return [sample.labels[label] for sample in self._samples if sample.name == name]


class MetricsPage:
    """The metrics page of a server. `url` is the server's root or a base URL of its API."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self._url = f"{ServerURL.parse(url).root}/metrics"
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        with ca_errors():
            self._http = httpx.Client(headers=headers, timeout=_TIMEOUT_S)

    def read(self) -> Scrape:
        """Fetch the metrics. Raises StatusFailed."""
        try:
            response = self._http.get(self._url)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise StatusFailed(f"Can't read {self._url}: {connection_error(error)}") from error
        if response.status_code != 200:
            raise StatusFailed(f"{self._url} returned {response.status_code}: {error_text(response.content)}")
        try:
            return Scrape(response.text, time.monotonic())
        except (ValueError, LookupError) as error:
            raise StatusFailed(f"{self._url} has no metrics of crossette: {error}") from error

    def close(self) -> None:
        self._http.close()
