"""Settings of a model that another server runs."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.settings import Interval, setting


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """A table `[models.NAME]` with `engine = "remote"`."""

    base_url: tuple[str, ...] = setting(
        (), "The base URL of the upstream's API, such as http://127.0.0.1:8080/v1; of several, the first that responds."
    )
    model: str = setting("", "The upstream's name of the model; NAME if it is left out.")
    api_key_env: str = setting("", "The environment variable with the upstream's API key.")
    upstream_fields: tuple[str, ...] = setting(
        (), "Request fields that the upstream knows beyond OpenAI's; others are rejected."
    )
    image_urls: bool = setting(
        False, "Send images on that are HTTP URLs, which the upstream fetches. Data URLs are always sent on."
    )
    connect_timeout: Interval = setting(5.0, "Most seconds to connect to an upstream.")
    read_timeout: Interval = setting(300.0, "Most seconds that an upstream may send nothing.")
