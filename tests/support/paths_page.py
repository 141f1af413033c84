"""docs/paths.md, generated from the routes and tables by `scripts/docs` and checked by a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from crossette.api import endpoints, routes
from crossette.api.app import App
from crossette.api.dialect import OPENAI
from crossette.api.models import ServedModels
from crossette.api.pages.site import FILES
from crossette.api.unserved import AT_THE_ROOT, BASE, IN_A_DIALECT, Unserved, endpoint_name
from crossette.pool.pool import ModelPool

PAGE = Path(__file__).parents[2] / "docs/paths.md"

HEAD = """\
# Paths and model names

## Base paths

`/v1` is OpenAI's dialect, `/inference/v1` Fireworks'. Paths are brought into one form before anything else looks at
them, so keys, limits, metrics and the ledger do not depend on how a path is written; the log has it as sent.

| sent | is |
|---|---|
| `//v1//models`, `/v1/models/` | `/v1/models` |
| `/v1/v1/models` | `/v1/models` |
| `/inference/v1/v1/models`, `/inference/inference/v1/models` | `/inference/v1/models` |
| `/v1/engines/MODEL/completions`, also `…/chat/completions` | `/v1/completions`, with MODEL as its `model` |
| `/chat/completions`, `/inference/chat/completions` | 404: the base path is missing, and it selects the dialect |
| `/v1/inference/v1/chat/completions` | 404: two base paths, which are two dialects |
| `/v1/chat/completions/models` | 404: a base URL ends in its base path, not in an endpoint |
| `/openai/v1/models` | 404: the base path is not at the start |

## What is served

A wrong method is a 405 with `allow`. Any other path is a 404 that lists what is served.
"""

NAMES = """\
## Model names

`model` in a body and the name in `/models/{name}` are compared in this order:

1. the name of a model or an alias, as it is;
2. without `#…`, which names a deployment;
3. without `accounts/<x>/models/`, `accounts/<x>/deployments/`, `accounts/<x>/routers/`, `fireworks/`, `openai/` or
   `models/` at its start, up to two of them;
4. all of these again without regard to case, unless that fits names of different models.

The answer repeats the name as sent. A name that is not served is a 404 with the most similar name, up to 20 names that
are served, and `--alias`. The models of a key limit what a name stands for, however it is written.

Entries of `/models` have `context_length`, for an alias the model as `root`, and for a LoRA adapter its base as
`parent`. In Fireworks' dialect they also have `kind` (`HF_BASE_MODEL`, `HF_PEFT_ADDON` for an adapter, or
`EMBEDDING_MODEL`), `supports_chat` and `supports_tools` (whether the model has a chat template), and
`supports_image_input` (whether messages may have images).
"""

ORIGINS = """\
## Web pages

`--cors-origin` lists the origins of web pages that may send requests. It is repeatable.

| value | origins |
|---|---|
| `https://app.example`, `http://localhost:3000`, `null` | this one |
| `http://localhost:*` | this host with any port, also without one |
| `https://*.example.org` | every subdomain at any depth, but not `https://example.org`; a port must be given, or `:*` |
| `vscode-webview://*`, `chrome-extension://*` | every host of this scheme |
| `*` | all |

Other uses of `*` are an error at the start, as is an origin that no browser sends.
"""


def page() -> str:
    return "\n".join([HEAD, *_served(), *_not_built(), NAMES, ORIGINS])


def _served() -> Iterator[str]:
    services = App(ServedModels(ModelPool.of({}))).services
    served = [*routes.open_routes(services), *routes.closed_routes(services)]
    needs_key = {route.path for route in routes.closed_routes(services)}
    yield from ("| endpoint | a key, if the server has any |", "|---|---|")
    for route in served:
        if not route.path.startswith(("/inference/", FILES)):
            name = endpoint_name(route).replace(OPENAI.prefix + "/", "…/")
            yield f"| `{name}` | {'needed' if route.path in needs_key else 'not needed'} |"
    yield from ("", "`…` is `/v1` or `/inference/v1`. HEAD works wherever GET does.", "")
    yield "`GET /` is the playground in a browser, text or JSON, as `accept` prefers, and JSON otherwise."
    yield "The pages are described in [pages.md](pages.md). Their files, under `/pages/`, need no key."
    yield "`/health` and `/ping` have status 503 while the server shuts down, or an engine failed or is stalled."
    yield "`/health/live` and `/health/ready` tell these apart; the latter describes the engines."
    yield ""


def _not_built() -> Iterator[str]:
    yield from ("## What is known but not built", "", "A 404 that says so. The paths under these are not built either.")
    yield from ("", "| path | what it is | instead |", "|---|---|---|")
    yield from _rows(IN_A_DIALECT, "…")
    yield from _rows(AT_THE_ROOT, "")
    yield ""


def _rows(table: Mapping[str, Unserved], base: str) -> Iterator[str]:
    for path, known in table.items():
        instead = f"`{known.instead.replace(BASE, '…')}`" if known.instead else ""
        under = "/…" if path in endpoints.GENERATING else ""
        yield f"| `{base}{path}{under}` | {known.name} | {instead} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
