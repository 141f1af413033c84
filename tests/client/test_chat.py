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
    """A Ctrl-C that Python hears: a process started in the background of a script ignores it."""
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
    """Answers `re: ` and the last message, in two pieces; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[Message]] = []
        self.closed = False

    async def reply(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        self.asked.append([dict(message) for message in messages])
        yield "re: "
        yield messages[-1]["content"]

    async def aclose(self) -> None:
        self.closed = True


class Interrupted(Echo):
    """The user presses Ctrl-C at the first answer, once this much of it was written."""

    def __init__(self, written: Sequence[str]) -> None:
        super().__init__()
        self._written = written
        self.stopped = False

    async def reply(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        if self.asked:
            async for piece in super().reply(messages):
                yield piece
            return
        self.asked.append([])
        for piece in self._written:
            yield piece
        try:
            press_ctrl_c()
            await asyncio.Event().wait()
        finally:
            self.stopped = True


def lines(*said: str) -> Callable[[], str]:
    """A user who says these lines and then presses Ctrl-D."""
    left: Iterable[str] = iter(said)

    def read_line() -> str:
        for line in left:
            return line
        raise EOFError

    return read_line


def talk(client: ChatClient, *said: str) -> str:
    console = Console(file=io.StringIO(), width=200)
    chat(client, console, lines(*said))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def test_each_message_is_answered_with_the_whole_conversation_in_mind() -> None:
    echo = Echo()

    assert "re: one\nre: two\n" in talk(echo, "one", "", "two")
    assert echo.asked[1] == [user("one"), assistant("re: one"), user("two")]
    assert echo.closed


@pytest.mark.parametrize("command", ["/exit", "/quit"])
def test_exit_and_quit_leave(command: str) -> None:
    echo = Echo()
    talk(echo, command, "never said")

    assert (echo.asked, echo.closed) == ([], True)


def test_ctrl_c_at_the_prompt_leaves() -> None:
    def press_ctrl_c() -> str:
        raise KeyboardInterrupt

    echo = Echo()
    chat(echo, Console(file=io.StringIO()), press_ctrl_c)

    assert echo.closed


def test_clear_forgets_the_conversation_but_not_the_system_message() -> None:
    echo = Echo()
    talk(echo, "/system Be brief.", "one", "/clear", "two")

    assert echo.asked[1] == [{"role": "system", "content": "Be brief."}, user("two")]


def test_system_without_text_removes_the_system_message() -> None:
    echo = Echo()
    talk(echo, "/system Be brief.", "/system", "one")

    assert echo.asked == [[user("one")]]


def test_help_names_every_command_and_an_unknown_one_is_not_sent_to_the_model() -> None:
    echo = Echo()
    text = talk(echo, "/help", "/halp me")

    assert all(command in text for command in ("/exit", "/quit", "/clear", "/system"))
    assert "There is no command /halp." in text
    assert echo.asked == []


def test_ctrl_c_stops_the_answer_and_keeps_what_was_written() -> None:
    client = Interrupted(["half an ", "answer"])
    text = talk(client, "one", "two")

    assert client.stopped
    assert "half an answer\n(stopped)\nre: two\n" in text
    assert client.asked[1] == [user("one"), assistant("half an answer"), user("two")]


def test_ctrl_c_before_the_first_text_takes_the_message_back() -> None:
    """An empty answer in the history would be refused by templates that want roles to alternate."""
    client = Interrupted([])
    talk(client, "one", "two")

    assert client.asked[1] == [user("two")]


def test_what_a_model_writes_cannot_steer_the_terminal_or_be_taken_for_markup() -> None:
    assert "re: [red]\\x1b[2J\n" in talk(Echo(), "[red]\x1b[2J")


def test_piped_input_is_one_question_and_only_its_answer_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    echo, console = Echo(), Console(file=io.StringIO())
    monkeypatch.setattr("sys.stdin", io.StringIO("first line\nsecond line\n"))
    chat(echo, console)

    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "re: first line\nsecond line\n"


def test_a_failure_to_answer_piped_input_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi"))

    with pytest.raises(ReplyFailed):
        chat(RemoteChat(unused_url()), Console(file=io.StringIO()))


# Against a server


def test_a_server_is_asked_for_its_first_model_and_streams_the_answer() -> None:
    with serving(Answer(chat_completion("Par", "is\u2028."))) as server:
        text = talk(RemoteChat(server.url, api_key="k"), "Capital of France?")

    assert "Paris\u2028.\n" in text
    assert server.bodies == [{"model": "tiny", "messages": [user("Capital of France?")], "stream": True}]
    assert server.headers[0]["authorization"] == "Bearer k"


def test_an_answer_cut_into_single_bytes_is_the_same() -> None:
    stream = b": ping\r\n\r\n" + b"".join(chat_completion("Grüße ", "\u2028👋")).replace(b"\n", b"\r\n")
    with serving(Answer([bytes([byte]) for byte in stream])) as server:
        assert "Grüße \u2028👋\n" in talk(RemoteChat(server.url), "Hi")


def test_an_error_is_one_sentence_and_the_message_is_taken_back() -> None:
    with serving(error_answer(429, "31 are in flight."), Answer(chat_completion("Hi"))) as server:
        text = talk(RemoteChat(server.url, "tiny"), "one", "two")

    assert "answers 429: 31 are in flight.\n" in text
    assert server.bodies[1]["messages"] == [user("two")]


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([delta_chunk("Hi"), event({"error": {"message": "The engine stopped."}})], "The engine stopped."),
        ([delta_chunk("Hi")], "broke off in the middle"),
        ([b"data: {oops\n\n"], "not a chunk: {oops"),
        ([b"data: [1]\n\n"], "not a chunk: [1]"),
    ],
)
def test_a_broken_answer_is_an_error_and_the_conversation_goes_on(pieces: list[bytes], said: str) -> None:
    with serving(Answer(pieces), Answer(chat_completion("fine"))) as server:
        text = talk(RemoteChat(server.url), "one", "two")

    assert said in text
    assert "fine\n" in text
    assert server.bodies[1]["messages"] == [user("two")]


def test_a_server_that_is_down_is_named_and_the_conversation_goes_on() -> None:
    url = unused_url()

    assert talk(RemoteChat(url), "one", "two").count(f"Can't reach {url}") == 2


def test_a_server_without_models_asks_for_a_model() -> None:
    with serving(models=()) as server:
        assert "--model" in talk(RemoteChat(server.url), "one")


class PressesCtrlC(RemoteChat):
    async def reply(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        async for piece in super().reply(messages):
            yield piece
            press_ctrl_c()


def test_ctrl_c_hangs_up_on_the_server() -> None:
    with serving(Answer([delta_chunk("Hi")], hangs=True)) as server:
        talk(PressesCtrlC(server.url), "one")

        assert server.hung_up.wait(WAIT_S)
