"""A conversation in the terminal. It does not know where the replies come from: a server or this process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Protocol

import httpx
from rich.console import Console

from crossette.client.remote import ServerURL, reading_certificates, told, told_in, why
from crossette.errors import CrossetteError

Message = dict[str, str]
"""`role` and `content`, as on the wire."""

HELP = """\
/system TEXT  set the system message (without TEXT: remove it)
/clear        forget the conversation
/exit, /quit  leave (Ctrl-D and Ctrl-C too)
Ctrl-C stops an answer that is being written. Anything else is said to the model."""

# What a model writes must not steer the terminal: control characters but tab and newline are spelled out.
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


class ReplyFailed(CrossetteError):
    """The server was not reached, refused, or broke off."""


class ChatClient(Protocol):
    """Where replies come from. Both methods are called in one event loop."""

    def reply(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        """The answer's text in pieces. Closing the generator ends the work; raises CrossetteError."""

    async def aclose(self) -> None: ...


def chat(client: ChatClient, console: Console, read_line: Callable[[], str] | None = None) -> None:
    """Converse until the user leaves. `read_line` gives the next line, or raises EOFError at the end.

    Where stdin is not a terminal, all of it is one question; a failure to answer it is raised.
    """
    with asyncio.Runner() as runner:
        conversation = Conversation(client, console, runner)
        try:
            if read_line is None and not sys.stdin.isatty():
                if question := sys.stdin.read().strip():
                    conversation.ask(question)
            else:
                _converse(conversation, console, read_line or _terminal_reader())
        finally:
            runner.run(client.aclose())


def _converse(conversation: Conversation, console: Console, read_line: Callable[[], str]) -> None:
    console.print("/help lists the commands.", style="dim")
    while True:
        try:
            if not conversation.hear(read_line()):
                return
        except (EOFError, KeyboardInterrupt):
            console.print()
            return


def _terminal_reader() -> Callable[[], str]:
    with suppress(ImportError):  # not on Windows, whose console edits lines by itself
        import readline  # noqa: F401  # its import gives input() a history and editing
    return lambda: input("> ")


class Conversation:
    """What was said so far, and how each line changes it."""

    def __init__(self, client: ChatClient, console: Console, runner: asyncio.Runner) -> None:
        self.system = ""
        self.messages: list[Message] = []
        self._client = client
        self._console = console
        self._runner = runner

    def hear(self, line: str) -> bool:
        """Obey a command or answer a message; False if the user leaves."""
        line = line.strip()
        if line.startswith("/"):
            return self._obey(*line.partition(" ")[::2])
        if line:
            try:
                self.ask(line)
            except CrossetteError as error:
                self._say(str(error), "red")
        return True

    def ask(self, question: str) -> None:
        """Print the answer to a message and remember both. A failure is raised and nothing is remembered.

        Ctrl-C ends the answer; what was written of it is remembered.
        """
        said: list[str] = []
        user = {"role": "user", "content": question}
        try:
            # The runner turns Ctrl-C into a cancellation of this run only, which closes the stream.
            self._runner.run(self._print_reply([*self._context(), user], said))
        except KeyboardInterrupt:
            self._say("(stopped)", "dim")
        if said:  # an empty turn would make the roles alternate wrongly, which some templates refuse
            self.messages += [user, {"role": "assistant", "content": "".join(said)}]

    async def _print_reply(self, messages: Sequence[Message], said: list[str]) -> None:
        try:
            async with aclosing(self._client.reply(messages)) as pieces:
                async for piece in pieces:
                    said.append(piece)
                    self._console.out(piece.translate(_VISIBLE), end="", highlight=False)
        finally:
            if said:
                self._console.print()

    def _context(self) -> list[Message]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.messages]

    def _obey(self, command: str, argument: str) -> bool:
        match command:
            case "/exit" | "/quit":
                return False
            case "/clear":
                self.messages.clear()
                self._say("The conversation is forgotten.", "dim")
            case "/system":
                self.system = argument.strip()
                self._say("The system message is set." if self.system else "No system message.", "dim")
            case "/help":
                self._say(HELP, "dim")
            case _:
                self._say(f"There is no command {command}. /help lists them.", "red")
        return True

    def _say(self, text: str, style: str) -> None:
        self._console.print(text.translate(_VISIBLE), style=style, markup=False, highlight=False)


class RemoteChat:
    """Replies of a server that speaks the OpenAI API. Without `model`, the first that it lists."""

    def __init__(self, url: str, model: str | None = None, api_key: str | None = None) -> None:
        self._url = ServerURL.parse(url).base
        self._model = model
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        # No limit on reading: a long prompt on a small machine takes minutes, and Ctrl-C is at hand.
        with reading_certificates():
            self._http = httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(10, read=None))

    async def reply(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        try:
            self._model = self._model or await self._first_model()
            body = {"model": self._model, "messages": list(messages), "stream": True}
            async with self._http.stream("POST", f"{self._url}/chat/completions", json=body) as response:
                if response.status_code != 200:
                    raise await self._refusal(response)
                async with aclosing(_texts(response)) as texts:
                    async for text in texts:
                        yield text
        except httpx.ConnectError as error:
            raise ReplyFailed(f"Can't reach {self._url}: {why(error)}") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            reason = str(error) or type(error).__name__
            raise ReplyFailed(f"The exchange with {self._url} broke off: {reason}") from error

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _first_model(self) -> str:
        response = await self._http.get(f"{self._url}/models")
        if response.status_code != 200:
            raise await self._refusal(response)
        try:
            return str(response.json()["data"][0]["id"])
        except (ValueError, LookupError, TypeError) as error:
            raise ReplyFailed(f"{self._url}/models lists no model. Name one with --model.") from error

    async def _refusal(self, response: httpx.Response) -> ReplyFailed:
        return ReplyFailed(f"{response.url} answers {response.status_code}: {told(await response.aread())}")


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
    raise ReplyFailed("The server broke off in the middle of the answer.")


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Cut at LF alone, leaving a CR on: httpx also cuts at U+2028, which JSON may hold as it is."""
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line


def _text(data: bytes) -> str:
    try:
        chunk = json.loads(data)
        if error := chunk.get("error"):
            raise ReplyFailed(f"The server failed in the middle of the answer: {told_in(error)}")
        return "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices") or ())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        shown = data[:100].decode(errors="replace")
        raise ReplyFailed(f"The server sent what is not a chunk: {shown}") from error
