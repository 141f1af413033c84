"""crossette on Ray Serve: each replica is a whole server behind Ray's HAProxy, and Ray chooses how many there are.

    CROSSETTE_CONFIG=crossette.toml CROSSETTE_HOST=0.0.0.0 python ray_app.py --replicas 2 8

The settings are those of `crossette serve`. docs/scale.md says what Ray replaces, and how to keep others away from it.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from crossette import config, log
from crossette.api.app import App
from crossette.server.hosted import HostedApp, check_hosted, open_app
from crossette.server.settings import Settings, load_settings

MAX_ONGOING = 10_000
"""Requests of a replica above which Ray's own queue begins: crossette's limits come first."""
HEAD_BYTES = 65_536
MORE_LINES = "\n    option http-buffer-request\n    timeout http-request 10s"
"""Lines of HAProxy's configuration for which Ray 2.60 has no variable; they follow the one of `retry-on`.

HAProxy can repeat a request only if it has all of it, or a buffer full, when it sends it. A head has ten seconds.
"""
CHECK_S = 2.0
LOGGING = {"log_level": "WARNING", "enable_access_log": False}
"""Of Ray: crossette has a line for each request."""

OpenApp = Callable[[Settings], AbstractContextManager[App]]


def environment(settings: Settings) -> dict[str, str]:
    """The variables of all of Ray's processes: they must be set before they start, also those of `ray start`."""
    server = settings.server
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(HEAD_BYTES),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "30",
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "600",
        # A request that has no byte of an answer is sent again, and none to a replica that has refused one: it has the
        # fewest requests, so it would be chosen for all of them.
        "RAY_SERVE_HAPROXY_RETRY_ON": f"conn-failure empty-response{MORE_LINES}",
        "RAY_SERVE_HAPROXY_RETRIES": "5",
        "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
        # A reload of HAProxy leaves an old process to the streams that it has: until they end.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(int(server.drain_delay + server.drain_timeout)),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(server.drain_delay),
        # Otherwise each event of a stream changes threads.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


class OneRequestId:
    """Leaves `x-request-id` to Ray, which adds its own: that of the request, which crossette uses too."""

    def __init__(self, app: HostedApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # Any: ASGI
        async def without(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"x-request-id"]
            await send(message)

        await self._app(scope, receive, without)


class Replica:
    """A replica. Ray runs its ASGI application, and restarts it once `check_health` fails."""

    def __init__(self, settings: Settings, open_app: OpenApp) -> None:
        from ray import serve

        server = settings.server
        log.configure(server.log_level, server.log_format)
        name = serve.get_replica_context().replica_id.unique_id
        named = replace(server, replica_name=f"{server.replica_name}-{name}" if server.replica_name else name)
        self._hosted = HostedApp(partial(open_app, replace(settings, server=named)))

    def __serve_build_asgi_app__(self) -> OneRequestId:
        return OneRequestId(self._hosted)

    def check_health(self) -> None:
        if not self._hosted.is_alive:
            raise RuntimeError("an engine has stopped")


def application(settings: Settings, arguments: argparse.Namespace, open_app: OpenApp = open_app) -> Any:
    """The application for `serve.run`."""
    from ray import serve

    least, most = arguments.replicas
    deployment = serve.deployment(
        name="crossette",
        autoscaling_config={
            "min_replicas": least,
            "initial_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": arguments.ongoing,
        },
        max_ongoing_requests=MAX_ONGOING,
        ray_actor_options={"num_cpus": arguments.cpus, "num_gpus": arguments.gpus},
        graceful_shutdown_timeout_s=settings.server.drain_delay + settings.server.drain_timeout,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=CHECK_S,
        logging_config=LOGGING,
    )
    return deployment(serve.ingress()(Replica)).bind(settings, open_app)


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", nargs=2, type=int, default=[1, 2], metavar=("LEAST", "MOST"))
    parser.add_argument("--ongoing", type=float, default=16, help="requests of a replica that Ray aims at")
    parser.add_argument("--cpus", type=float, default=1, help="CPUs of a replica")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of a replica")
    return parser.parse_args(given)


def run(settings: Settings, arguments: argparse.Namespace, open_app: OpenApp = open_app, **options: Any) -> None:
    """Join the cluster that RAY_ADDRESS names, or start one here with `options`, and deploy."""
    check_hosted(settings)
    os.environ.update(environment(settings) | os.environ)  # what the operator has set remains
    import ray
    from ray import serve

    ray.init(include_dashboard=False, **options)
    serve.start(
        http_options={"host": settings.server.host, "port": settings.server.port},
        logging_config=LOGGING,
    )
    serve.run(application(settings, arguments, open_app))


if __name__ == "__main__":
    run(load_settings({}, os.environ, config.chosen_file(None, os.environ)), parsed())
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
