"""The MCP servers whose tools the tests send, and how each is started."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support.client_environments import node, npm_folder
from support.mcp_tools import as_functions, listed_tools

ENVIRONMENT = "mcp_servers"


@dataclass(frozen=True)
class McpServer:
    """A server that npm installs. Its keys are no one's: to list tools, none is used."""

    package: str
    arguments: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)

    def command(self) -> list[str]:
        """Node, the package's program, and its arguments."""
        folder = npm_folder(ENVIRONMENT) / "node_modules" / self.package
        programs = json.loads((folder / "package.json").read_text(encoding="utf-8"))["bin"]
        program = programs if isinstance(programs, str) else next(iter(programs.values()))
        return [str(node()), str(folder / program), *self.arguments]


SERVERS = {
    "notion": McpServer("@notionhq/notion-mcp-server", environ={"NOTION_TOKEN": "ntn_0"}),
    "firecrawl": McpServer("firecrawl-mcp", environ={"FIRECRAWL_API_KEY": "fc-0"}),
    "playwright": McpServer("@playwright/mcp"),
    "filesystem": McpServer("@modelcontextprotocol/server-filesystem", (".",)),
    "everything": McpServer("@modelcontextprotocol/server-everything"),
    "memory": McpServer("@modelcontextprotocol/server-memory"),
    "sequential-thinking": McpServer("@modelcontextprotocol/server-sequential-thinking"),
}


@cache
def functions_of(name: str) -> list[dict[str, Any]]:
    """The tools of a server as the `tools` of a request. Asked once for all tests."""
    server = SERVERS[name]
    with TemporaryDirectory() as folder:
        environ = {"PATH": os.environ["PATH"], "HOME": folder, **server.environ}
        return as_functions(listed_tools(server.command(), environ, Path(folder)))
