"""A look-alike of the Hugging Face Hub on this machine, and of the host that it redirects to for large files.

Repositories are dicts of files. Faults can be set while it runs; it records the requests and the bytes that it sent.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "c0ffee" + 34 * "0"
LARGE = 1 << 10
"""Files from this size are in LFS."""
_PIECE = 1 << 14


@dataclass
class HubRepository:
    files: dict[str, bytes]
    gated: bool = False
    license: str = "apache-2.0"


@dataclass
class LookAlike:
    """The state of both hosts."""

    repos: dict[str, HubRepository]
    token: str = "hf_secret"
    """The token that may read gated repositories."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers with a large file are cut, one for each."""
    busy: list[int] = field(default_factory=list)
    """Statuses of the next answers with a large file."""
    damaged: bool = False
    """Whether the bytes of large files are others than the Hub says."""
    ranges: bool = True
    bare: bool = False
    """Whether the metadata are only the names of files, as those of a simple mirror."""
    claims: dict[str, int] = field(default_factory=dict)
    """Sizes of files that the Hub says in place of the real ones."""
    meeting: threading.Barrier | None = None
    """Where answers with large files wait for others."""
    holds_at: int | None = None
    """The byte of a large file before which an answer waits for `released`, one that continues it too."""
    held: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Host ("hub" or "cdn"), path, and headers in small letters."""
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of files by name."""
    hub: str = ""
    cdn: str = ""
    commit: str = COMMIT

    def headers(self, host: str, name: str) -> list[str | None]:
        """A header of all requests to a host."""
        return [headers.get(name) for seen, _, headers in self.requests if seen == host]


@contextmanager
def hub_server(**repos: HubRepository | dict[str, bytes]) -> Iterator[LookAlike]:
    """Run both hosts. Names of repositories have `__` in place of the slash."""
    state = LookAlike(
        {
            name.replace("__", "/"): repo if isinstance(repo, HubRepository) else HubRepository(repo)
            for name, repo in repos.items()
        }
    )
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(state, host)) for host in ("hub", "cdn")]
    state.hub, state.cdn = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield state
    finally:
        state.released.set()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(state: LookAlike, host: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            path = urlsplit(self.path).path  # the whole URL if it is a proxy
            if path == "/api/agent-harnesses":  # huggingface_hub asks once, without a token
                return self._answer(404, {})
            state.requests.append((host, path, headers))
            if host == "cdn":
                return self._large(*re.fullmatch(r"/(\w+/\w+)/(.+)", path).groups())  # type: ignore[union-attr]
            if found := re.fullmatch(r"/api/models/(\w+/\w+)(?:/revision/(\w+))?", path):
                return self._info(*found.groups())
            if found := re.fullmatch(r"/(\w+/\w+)/resolve/(\w+)/(.+)", path):
                return self._resolve(*found.groups())
            self._answer(404, {"X-Error-Code": "EntryNotFound"})

        def _info(self, name: str, revision: str | None) -> None:
            if (repo := state.repos.get(name)) is None:
                return self._answer(401, {"X-Error-Code": "RepoNotFound"})
            if revision not in (None, "main", COMMIT):
                return self._answer(404, {"X-Error-Code": "RevisionNotFound"})
            siblings = [_sibling(file, data, state.claims.get(file)) for file, data in repo.files.items()]
            siblings = [{"rfilename": found["rfilename"]} for found in siblings] if state.bare else siblings
            info = {"id": name, "sha": COMMIT, "siblings": siblings, "cardData": {"license": repo.license}}
            self._answer(200, {"Content-Type": "application/json"}, json.dumps(info).encode())

        def _resolve(self, name: str, revision: str, file: str) -> None:
            repo = state.repos[name]
            if repo.gated and self.headers["authorization"] != f"Bearer {state.token}":
                return self._answer(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
            if revision != COMMIT or file not in repo.files:
                return self._answer(404, {"X-Error-Code": "EntryNotFound"})
            data = repo.files[file]
            if len(data) >= LARGE:
                return self._answer(302, {"Location": f"{state.cdn}/{name}/{file}", "X-Repo-Commit": COMMIT})
            state.sent[file] += len(data)
            self._answer(200, {"X-Repo-Commit": COMMIT}, data)

        def _large(self, name: str, file: str) -> None:
            if state.busy:
                return self._answer(state.busy.pop(0), {})
            if state.meeting is not None:
                state.meeting.wait(60)
            data = state.repos[name].files[file]
            data = bytes(len(data)) if state.damaged else data
            start, end = self._range(len(data))
            self.send_response(206 if self._has_range else 200)
            self.send_header("Content-Length", str(end - start))
            if self._has_range:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
            self.end_headers()
            self._send(file, data[:end], start, state.cuts.pop(0) if state.cuts else None)

        @property
        def _has_range(self) -> bool:
            return state.ranges and self.headers["range"] is not None

        def _range(self, size: int) -> tuple[int, int]:
            if not self._has_range:
                return 0, size
            start, _, last = self.headers["range"].removeprefix("bytes=").partition("-")
            return int(start), min(int(last) + 1 if last else size, size)

        def _send(self, file: str, data: bytes, start: int, cut: int | None) -> None:
            for at in range(start, len(data), _PIECE):
                if state.holds_at is not None and at >= state.holds_at:
                    state.held.set()
                    state.released.wait(60)
                piece = data[at : at + _PIECE][: None if cut is None else max(0, start + cut - at)]
                try:
                    self.wfile.write(piece)
                except OSError:  # the client has enough
                    self.close_connection = True
                    return
                state.sent[file] += len(piece)
                if cut is not None and at + _PIECE >= start + cut:
                    self.close_connection = True
                    return

        def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _sibling(file: str, data: bytes, claimed: int | None) -> dict[str, Any]:
    size = len(data) if claimed is None else claimed
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    found: dict[str, Any] = {"rfilename": file, "size": size, "blobId": blob}
    if len(data) >= LARGE:
        found["lfs"] = {"size": size, "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 130}
    return found
