"""The chat in the terminal, with a remote server or an engine in this process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Protocol

import httpx
from rich.console import Console

from crossette.client.remote import ServerURL, ca_errors, connection_error, error_message, error_text
from crossette.errors import CrossetteError

Message = dict[str, str]
"""`role` and `content`, as in the API."""

HELP = """\
/system TEXT  set the system message (without TEXT: remove it)
/clear        clear the conversation
/exit, /quit  leave (Ctrl-D and Ctrl-C too)
Ctrl-C stops a response. Anything else is sent to the model."""

# Model output must not control the terminal: control characters other than tab and newline are escaped.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


class ReplyFailed(CrossetteError):
    """The server is unreachable, rejected the request, or failed during the response."""


class ChatClient(Protocol):
    """A source of replies. Both methods are called in one event loop."""

    def reply(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        """Stream the text of the reply. Closing the generator aborts the request. Raises CrossetteError."""

    async def aclose(self) -> None: ...


def chat(client: ChatClient, console: Console, read_line: Callable[[], str] | None = None) -> None:
    """Chat until the user leaves. `read_line` returns the next line, or raises EOFError at the end.

    If stdin is not a terminal, its content is a single message, and a failure of the reply is raised.
    """
    with asyncio.Runner() as runner:
        conversation = Conversation(client, console, runner)
        try:
            if read_line is None and not sys.stdin.isatty():
                if question := sys.stdin.read().strip():
                    conversation.ask(question)
            else:
                _run_loop(conversation, console, read_line or _terminal_reader())
        finally:
            runner.run(client.aclose())


def _run_loop(conversation: Conversation, console: Console, read_line: Callable[[], str]) -> None:
    console.print("/help lists the commands.", style="dim")
    while True:
        try:
            if not conversation.handle(read_line()):
                return
        except (EOFError, KeyboardInterrupt):
            console.print()
            return


def _terminal_reader() -> Callable[[], str]:
    with suppress(ImportError):  # not available on Windows, whose console has line editing
        import readline  # noqa: F401  # its import adds history and editing to input()
    return lambda: input("> ")


class Conversation:
    """The conversation so far, and the handling of input lines."""

    def __init__(self, client: ChatClient, console: Console, runner: asyncio.Runner) -> None:
        self.system = ""
        self.messages: list[Message] = []
        self._client = client
        self._console = console
        self._runner = runner

    def handle(self, line: str) -> bool:
        """Run a command or send a message. Returns False if the user leaves."""
        line = line.strip()
        if line.startswith("/"):
            return self._run_command(*line.partition(" ")[::2])
        if line:
            try:
                self.ask(line)
            except CrossetteError as error:
                self._show(str(error), "red")
        return True

    def ask(self, question: str) -> None:
        """Print the reply to a message and append both to the history. Raises on failure, with an unchanged history.

        Ctrl-C ends the reply; its text so far is kept.
        """
        reply: list[str] = []
        user = {"role": "user", "content": question}
        try:
            # The runner turns Ctrl-C into a cancellation of this run only, which closes the stream.
            self._runner.run(self._print_reply([*self._context(), user], reply))
        except KeyboardInterrupt:
            self._show("(stopped)", "dim")
        if reply:  # with an empty reply the roles would not alternate, which some templates reject
            self.messages += [user, {"role": "assistant", "content": "".join(reply)}]

    async def _print_reply(self, messages: Sequence[Message], reply: list[str]) -> None:
        try:
            async with aclosing(self._client.reply(messages)) as pieces:
                async for piece in pieces:
                    reply.append(piece)
                    self._console.out(piece.translate(_ESCAPES), end="", highlight=False)
        finally:
            if reply:
                self._console.print()

    def _context(self) -> list[Message]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.messages]

    def _run_command(self, command: str, argument: str) -> bool:
        match command:
            case "/exit" | "/quit":
                return False
            case "/clear":
                self.messages.clear()
                self._show("The conversation was cleared.", "dim")
            case "/system":
                self.system = argument.strip()
                self._show("The system message is set." if self.system else "No system message.", "dim")
            case "/help":
                self._show(HELP, "dim")
            case _:
                self._show(f"Unknown command {command}. /help lists the commands.", "red")
        return True

    def _show(self, text: str, style: str) -> None:
        self._console.print(text.translate(_ESCAPES), style=style, markup=False, highlight=False)


class RemoteChat:
    """Replies of a server with the OpenAI API. Without `model`, of the first model that it lists."""

    def __init__(self, url: str, model: str | None = None, api_key: str | None = None) -> None:
        self._url = ServerURL.parse(url).base
        self._model = model
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        # No read timeout: a long prompt on a small machine takes minutes, and the user can press Ctrl-C.
        with ca_errors():
            self._http = httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(10, read=None))

    async def reply(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        try:
            self._model = self._model or await self._first_model()
            body = {"model": self._model, "messages": list(messages), "stream": True}
            async with self._http.stream("POST", f"{self._url}/chat/completions", json=body) as response:
                if response.status_code != 200:
                    raise await self._error_response(response)
                async with aclosing(_texts(response)) as texts:
                    async for text in texts:
                        yield text
        except httpx.ConnectError as error:
            raise ReplyFailed(f"Can't reach {self._url}: {connection_error(error)}") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            reason = str(error) or type(error).__name__
            raise ReplyFailed(f"The connection to {self._url} failed: {reason}") from error

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _first_model(self) -> str:
        response = await self._http.get(f"{self._url}/models")
        if response.status_code != 200:
            raise await self._error_response(response)
        try:
            return str(response.json()["data"][0]["id"])
        except (ValueError, LookupError, TypeError) as error:
            raise ReplyFailed(f"{self._url}/models lists no model. Give one as MODEL.") from error

    async def _error_response(self, response: httpx.Response) -> ReplyFailed:
        return ReplyFailed(f"{response.url} returned {response.status_code}: {error_text(await response.aread())}")


async def _texts(response: httpx.Response) -> AsyncGenerator[str, None]:
    """The text of each chunk. Raises ReplyFailed for an error frame and for an end without `[DONE]`."""
    async with aclosing(_lines(response)) as lines:
        async for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            if text := _text(data):
                yield text
    raise ReplyFailed("The server disconnected during the response.")


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Split at LF only, keeping a CR: httpx also splits at U+2028, which JSON may contain unescaped."""
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line


def _text(data: bytes) -> str:
    try:
        chunk = json.loads(data)
        if error := chunk.get("error"):
            raise ReplyFailed(f"The server failed during the response: {error_message(error)}")
        return "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices") or ())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        shown = data[:100].decode(errors="replace")
        raise ReplyFailed(f"The server sent an invalid chunk: {shown}") from error
