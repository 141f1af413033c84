from __future__ import annotations

import asyncio
import io
import signal
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence

import pytest
from rich.console import Console

from crossette.client.chat import ChatClient, Message, RemoteChat, ReplyFailed, chat
from support.sse_server import WAIT_S, Answer, chat_completion, delta_chunk, error_answer, event, serving, unused_url


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Enable Python's Ctrl-C handler, which is off in a background process of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c() -> None:
    """Call Python's handler, as the interpreter does after a signal.

    A real signal needs the alternate stack that pytest's faulthandler sets; late in a long run with OpenVINO in the
    process it was found unmapped, and the signal ended the tests with a segmentation fault.
    """
    handler = signal.getsignal(signal.SIGINT)
    assert callable(handler)
    handler(signal.SIGINT, None)


class Echo:
    """Replies `re: ` and the last message, in two pieces; records the requests."""

    def __init__(self) -> None:
        self.requests: list[list[Message]] = []
        self.closed = False

    async def reply(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        self.requests.append([dict(message) for message in messages])
        yield "re: "
        yield messages[-1]["content"]

    async def aclose(self) -> None:
        self.closed = True


class Interrupted(Echo):
    """The user presses Ctrl-C during the first reply, after these pieces."""

    def __init__(self, written: Sequence[str]) -> None:
        super().__init__()
        self._written = written
        self.stopped = False

    async def reply(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        if self.requests:
            async for piece in super().reply(messages):
                yield piece
            return
        self.requests.append([])
        for piece in self._written:
            yield piece
        try:
            press_ctrl_c()
            await asyncio.Event().wait()
        finally:
            self.stopped = True


def lines(*inputs: str) -> Callable[[], str]:
    """A user who enters these lines and then presses Ctrl-D."""
    remaining: Iterable[str] = iter(inputs)

    def read_line() -> str:
        for line in remaining:
            return line
        raise EOFError

    return read_line


def talk(client: ChatClient, *inputs: str) -> str:
    console = Console(file=io.StringIO(), width=200)
    chat(client, console, lines(*inputs))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def test_each_request_has_the_whole_conversation() -> None:
    echo = Echo()

    assert "re: one\nre: two\n" in talk(echo, "one", "", "two")
    assert echo.requests[1] == [user("one"), assistant("re: one"), user("two")]
    assert echo.closed


@pytest.mark.parametrize("command", ["/exit", "/quit"])
def test_exit_and_quit_leave(command: str) -> None:
    echo = Echo()
    talk(echo, command, "never sent")

    assert (echo.requests, echo.closed) == ([], True)


def test_ctrl_c_at_the_prompt_leaves() -> None:
    def press_ctrl_c() -> str:
        raise KeyboardInterrupt

    echo = Echo()
    chat(echo, Console(file=io.StringIO()), press_ctrl_c)

    assert echo.closed


def test_clear_removes_the_conversation_but_not_the_system_message() -> None:
    echo = Echo()
    talk(echo, "/system Be brief.", "one", "/clear", "two")

    assert echo.requests[1] == [{"role": "system", "content": "Be brief."}, user("two")]


def test_system_without_text_removes_the_system_message() -> None:
    echo = Echo()
    talk(echo, "/system Be brief.", "/system", "one")

    assert echo.requests == [[user("one")]]


def test_help_names_every_command_and_an_unknown_one_is_not_sent_to_the_model() -> None:
    echo = Echo()
    text = talk(echo, "/help", "/halp me")

    assert all(command in text for command in ("/exit", "/quit", "/clear", "/system"))
    assert "Unknown command /halp." in text
    assert echo.requests == []


def test_ctrl_c_stops_the_answer_and_keeps_what_was_written() -> None:
    client = Interrupted(["half an ", "answer"])
    text = talk(client, "one", "two")

    assert client.stopped
    assert "half an answer\n(stopped)\nre: two\n" in text
    assert client.requests[1] == [user("one"), assistant("half an answer"), user("two")]


def test_ctrl_c_before_the_first_text_removes_the_message() -> None:
    """An empty reply in the history would be rejected by templates that require alternating roles."""
    client = Interrupted([])
    talk(client, "one", "two")

    assert client.requests[1] == [user("two")]


def test_model_output_cannot_control_the_terminal_or_become_markup() -> None:
    assert "re: [red]\\x1b[2J\n" in talk(Echo(), "[red]\x1b[2J")


def test_piped_input_is_one_message_and_only_its_reply_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    echo, console = Echo(), Console(file=io.StringIO())
    monkeypatch.setattr("sys.stdin", io.StringIO("first line\nsecond line\n"))
    chat(echo, console)

    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "re: first line\nsecond line\n"


def test_a_failed_reply_to_piped_input_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi"))

    with pytest.raises(ReplyFailed):
        chat(RemoteChat(unused_url()), Console(file=io.StringIO()))


# Against a server


@pytest.mark.slow
def test_the_first_model_of_a_server_is_used_and_the_reply_is_streamed() -> None:
    with serving(Answer(chat_completion("Par", "is\u2028."))) as server:
        text = talk(RemoteChat(server.url, api_key="k"), "Capital of France?")

    assert "Paris\u2028.\n" in text
    assert server.bodies == [{"model": "tiny", "messages": [user("Capital of France?")], "stream": True}]
    assert server.headers[0]["authorization"] == "Bearer k"


@pytest.mark.slow
def test_a_reply_split_into_single_bytes_is_the_same() -> None:
    stream = b": ping\r\n\r\n" + b"".join(chat_completion("Grüße ", "\u2028👋")).replace(b"\n", b"\r\n")
    with serving(Answer([bytes([byte]) for byte in stream])) as server:
        assert "Grüße \u2028👋\n" in talk(RemoteChat(server.url), "Hi")


@pytest.mark.slow
def test_an_error_is_one_sentence_and_the_message_is_removed() -> None:
    with serving(error_answer(429, "31 are in flight."), Answer(chat_completion("Hi"))) as server:
        text = talk(RemoteChat(server.url, "tiny"), "one", "two")

    assert "returned 429: 31 are in flight.\n" in text
    assert server.bodies[1]["messages"] == [user("two")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([delta_chunk("Hi"), event({"error": {"message": "The engine stopped."}})], "The engine stopped."),
        ([delta_chunk("Hi")], "disconnected during the response"),
        ([b"data: {oops\n\n"], "invalid chunk: {oops"),
        ([b"data: [1]\n\n"], "invalid chunk: [1]"),
    ],
)
def test_an_incomplete_reply_is_an_error_and_the_conversation_goes_on(pieces: list[bytes], message: str) -> None:
    with serving(Answer(pieces), Answer(chat_completion("fine"))) as server:
        text = talk(RemoteChat(server.url), "one", "two")

    assert message in text
    assert "fine\n" in text
    assert server.bodies[1]["messages"] == [user("two")]


def test_a_server_that_is_down_is_named_and_the_conversation_goes_on() -> None:
    url = unused_url()

    assert talk(RemoteChat(url), "one", "two").count(f"Can't reach {url}") == 2


@pytest.mark.slow
def test_a_server_without_models_is_an_error_that_requests_a_model() -> None:
    with serving(models=()) as server:
        assert "Give one as MODEL" in talk(RemoteChat(server.url), "one")


class PressesCtrlC(RemoteChat):
    async def reply(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        async for piece in super().reply(messages):
            yield piece
            press_ctrl_c()


@pytest.mark.slow
def test_ctrl_c_disconnects_from_the_server() -> None:
    with serving(Answer([delta_chunk("Hi")], hangs=True)) as server:
        talk(PressesCtrlC(server.url), "one")

        assert server.disconnected.wait(WAIT_S)
