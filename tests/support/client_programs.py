"""The programs in tests/clients, and the client of each."""

from __future__ import annotations

from typing import NamedTuple

from support.client_environments import PINS


class Client(NamedTuple):
    """A program of tests/clients, and the client it is written for."""

    name: str
    version: str
    environment: str
    program: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"`{self.name}` {self.version}".rstrip()


def _pinned(environment: str, *program: str, pin: int = 0) -> Client:
    kind, separator = ("python", "==") if environment in PINS["python"] else ("npm", "@")
    name, _, version = PINS[kind][environment][pin].rpartition(separator)
    return Client(f"npm {name}" if kind == "npm" else name, version, environment, program)


CLIENTS = {
    "openai 0.28": _pinned("openai_0", "openai_2023.py"),
    "openai 1": _pinned("openai_1", "openai_typed.py"),
    "openai 3": _pinned("openai_3", "openai_typed.py"),
    "fireworks": _pinned("fireworks", "fireworks_typed.py"),
    "langchain-openai": _pinned("langchain_openai", "langchain_models.py"),
    "langchain-fireworks": _pinned("langchain_fireworks", "langchain_models.py"),
    "instructor": _pinned("instructor", "instructor_models.py"),
    "npm openai": _pinned("openai_js", "openai_js.ts"),
    "ai-sdk fireworks": _pinned("ai_sdk", "ai_sdk.ts", "fireworks"),
    "ai-sdk compatible": _pinned("ai_sdk", "ai_sdk.ts", "compatible", pin=1),
    "curl": Client("curl", "", "curl", ("curl_2023.py",)),
}
