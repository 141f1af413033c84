"""A proxy and the replicas behind it."""

from __future__ import annotations

from dataclasses import dataclass

from support.replica_server import ReplicaServer


@dataclass(frozen=True)
class Site:
    root: str
    replicas: list[ReplicaServer]
