"""vLLM at a URL or as a child process: what is checked at the start, and what happens when it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from crossette.engine import Engine
from crossette.engines.vllm.engine import NOT_INVARIANT, VllmEngine
from crossette.engines.vllm.process import VllmProcess, command
from crossette.engines.vllm.server import VllmServer
from crossette.engines.vllm.settings import VllmSettings
from crossette.errors import ConfigError, EngineFailure, ModelError, ModelUnavailable
from crossette.types import FinishReason
from support.engine_calls import MAX_SEQUENCES, ask, make_request, read, run
from support.tiny_checkpoint import tiny_checkpoint_files, write_tiny_checkpoint
from support.vllm_server import FakeVllm, running, write_program
from support.waiting import wait_until

LIMIT_S = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture
def program(tmp_path: Path) -> str:
    return write_program(tmp_path)


def load(folder: Path, **settings: object) -> VllmEngine:
    return VllmEngine.load(
        tiny_checkpoint_files(folder),
        VllmSettings(vllm_max_sequences=MAX_SEQUENCES, **settings),  # type: ignore[arg-type]
    )


@pytest.fixture
def child(folder: Path, program: str) -> Iterator[VllmEngine]:
    engine = load(folder, vllm_command=program)
    yield engine
    engine.close()


def process_of(engine: VllmEngine) -> VllmProcess:
    process = engine._server._process
    assert process is not None
    return process


# --- the start ---


def test_facts_of_the_server_are_read(folder: Path) -> None:
    with running(FakeVllm()) as url:
        engine = load(folder, vllm_url=url + "/")
        try:
            stats = engine.stats()
            assert engine.details == {"vllm": f"0.32.0 at {url}"}
            assert (engine.info.context_length, engine.info.vocab_size) == (1024, 259)
            assert (stats.blocks_total, stats.kv_bytes, stats.stalled) == (8192, 2**30, False)
        finally:
            engine.close()


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (FakeVllm(version="0.31.2"), r"has version 0\.31\.2\. Its protocol is known of 0\.32, 0\.33"),
        (FakeVllm(version="0.320.1"), r"has version 0\.320\.1"),
        (FakeVllm(scale_out=False), r"Start it with --enable-scale-out"),
        (FakeVllm(key="secret"), "Set VLLM_API_KEY"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused(folder: Path, server: FakeVllm, message: str) -> None:
    with running(server) as url, pytest.raises(ModelError, match=message):
        load(folder, vllm_url=url)


def test_the_key_of_the_environment_is_sent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    with running(FakeVllm(key="secret")) as url:
        engine = load(folder, vllm_url=url)
        assert run(ask(engine, make_request(max_tokens=2)))[0].reason == FinishReason.LENGTH
        engine.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host", "begins with neither http:// nor https://"),
        ("http://a b", "has blanks"),
        ("http://host/?a=1", "has a query"),
        ("http://me:secret@host", "'host': it has a user or a password"),
    ],
)
def test_a_wrong_url_is_named_without_its_password(folder: Path, url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"--vllm-url cannot be .*{reason}") as raised:
        load(folder, vllm_url=url)

    assert "secret" not in str(raised.value)


def test_a_key_that_no_header_can_have_is_not_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "my\nkey")

    with pytest.raises(ConfigError, match="VLLM_API_KEY has characters that a header cannot have") as raised:
        load(folder, vllm_url="http://127.0.0.1:1")

    assert "my" not in str(raised.value)


def test_a_server_that_does_not_run_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossette.engines.vllm.server._TIMEOUT_S", 0.1)

    with pytest.raises(ModelError, match=r"http://127\.0\.0\.1:1 does not answer .* correct --vllm-url"):
        load(folder, vllm_url="http://127.0.0.1:1")


def test_exactness_is_claimed_in_batch_invariant_mode_alone(folder: Path) -> None:
    with running(FakeVllm()) as url:
        for invariant, warnings in ((True, ()), (False, (NOT_INVARIANT,))):
            engine = load(folder, vllm_url=url, vllm_batch_invariant=invariant)
            assert engine.warnings == warnings
            engine.close()


def test_the_tokenizer_of_another_model_is_warned_of(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "other")
    with running(FakeVllm()) as url:
        engine = load(tmp_path / "other", vllm_url=url, vllm_batch_invariant=True)
        engine.close()

    assert engine.warnings == (
        f"vLLM serves the model tiny, but the tokenizer is that of {tmp_path / 'other'}. Correct ref or vllm_url.",
    )


# --- a child ---


def test_the_command_line_ends_with_the_operators_arguments(folder: Path) -> None:
    settings = VllmSettings(vllm_command="/opt/vllm", vllm_args=("--tensor-parallel-size=2",), vllm_max_sequences=5)

    program, verb, model, *arguments = command(tiny_checkpoint_files(folder), settings, 1234)

    assert (program, verb, model) == ("/opt/vllm", "serve", str(folder))
    assert arguments[:4] == ["--host", "127.0.0.1", "--port", "1234"]
    assert "--enable-scale-out" in arguments
    assert arguments[arguments.index("--max-num-seqs") + 1] == "5"
    assert arguments[-1] == "--tensor-parallel-size=2"


def test_a_missing_program_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--vllm-command /no/vllm cannot be started: No such file"):
        load(folder, vllm_command="/no/vllm")


def test_a_child_that_cannot_load_its_model_says_why(folder: Path, program: str) -> None:
    with pytest.raises(ModelError, match=r"(?s)ended with code 1.*the model does not fit"):
        load(folder, vllm_command=program, vllm_args=("--fail",))


def test_a_child_has_a_key_of_its_own_and_ends_with_the_engine(child: VllmEngine) -> None:
    process = process_of(child)
    assert run(ask(child, make_request(max_tokens=2)))[0].reason == FinishReason.LENGTH
    assert process.key
    assert not process.wait(0)

    child.close()

    assert process.wait(0)


_LOADS = """
import sys, threading, time
from pathlib import Path
from crossette.engines.vllm.process import VllmProcess
from crossette.engines.vllm.settings import VllmSettings
from support.tiny_checkpoint import tiny_checkpoint_files
settings = VllmSettings(vllm_command=sys.argv[2], vllm_args=("--load-forever",))
process = VllmProcess(tiny_checkpoint_files(Path(sys.argv[1])), settings)
while not process._lines:  # then it writes nothing more, and would not notice
    time.sleep(0.01)
print(process._process.pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_a_server_that_is_killed_while_it_loads(
    folder: Path, program: str, number: signal.Signals
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", _LOADS, folder, program], stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        group = int(server.stdout.readline())
        os.killpg(group, 0)
        server.send_signal(number)

    wait_until(lambda: not is_group(group))


def is_group(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_child_ends_its_streams_with_one_error_each_and_comes_back(
    child: VllmEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    killed = process_of(child)

    async def work() -> list[int]:
        async with AsyncExitStack() as stack:
            running = [child.generate(make_request(n=2, max_tokens=900)) for _ in range(3)]
            waiting = child.generate(make_request(n=MAX_SEQUENCES, max_tokens=900))
            for generation in (*running, waiting):
                stack.push_async_callback(generation.aclose)
            for generation in running:
                await anext(generation)
            killed.kill()
            num_errors = []
            for generation in (*running, waiting):
                with pytest.raises((EngineFailure, ModelUnavailable)):
                    await read(generation)
                num_errors.append(len(await read(generation)))
            with pytest.raises(ModelUnavailable, match="has ended or does not respond"):
                child.generate(make_request())
            return num_errors

    assert run(work()) == [0] * 4
    assert child.stats().stalled
    assert child.stats().alive
    wait_until(lambda: not child.stats().stalled)
    assert process_of(child) is not killed
    assert run(ask(child, make_request(max_tokens=2)))[0].reason == FinishReason.LENGTH


def test_a_server_that_fails_its_health_check_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossette.engines.vllm.server.CHECK_S", 0.01)
    vllm = FakeVllm()
    with running(vllm) as url:
        engine = load(folder, vllm_url=url)
        try:
            vllm.is_healthy = False
            wait_until(lambda: engine.stats().stalled)
            vllm.is_healthy = True
            wait_until(lambda: not engine.stats().stalled)
        finally:
            engine.close()


def test_a_failed_request_brings_the_next_check_forward(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM answers for a while after a process of its engine has ended."""
    checks = 0

    def is_healthy(server: VllmServer) -> bool:
        nonlocal checks
        checks += 1
        return vllm.is_healthy

    monkeypatch.setattr("crossette.engines.vllm.server.CHECK_S", 3600)
    monkeypatch.setattr(VllmServer, "_is_healthy", is_healthy)
    vllm = FakeVllm()
    with running(vllm) as url:
        engine = load(folder, vllm_url=url)
        try:
            wait_until(lambda: checks == 2)  # at the start, and the first one after it: the next is in an hour
            vllm.is_healthy = False
            vllm.engine.fail_next_step(RuntimeError("a process has ended"))
            with pytest.raises(EngineFailure):
                run(ask(engine, make_request(max_tokens=2)))
            wait_until(lambda: engine.stats().stalled)
        finally:
            engine.close()


def test_a_check_that_began_before_a_failure_does_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = 0

    def is_healthy(server: VllmServer) -> bool:
        nonlocal checks
        checks += 1
        if checks == 1:
            server.report_failure()
            return True
        states.append(server.is_up)
        return True

    states: list[bool] = []
    with running(FakeVllm()) as url:
        engine = load(folder, vllm_url=url)
        monkeypatch.setattr(VllmServer, "_is_healthy", is_healthy)
        engine._server._check_now.set()
        try:
            wait_until(lambda: bool(states))
        finally:
            engine.close()

    assert not states[0]


def test_no_connection_outlives_its_event_loop(folder: Path) -> None:
    """Neither of a choice that vLLM has ended, nor of one that the reader ends; without a garbage collection."""

    async def end_early(engine: VllmEngine) -> None:
        generation = engine.generate(make_request(n=5, max_tokens=900))
        await anext(generation)
        await generation.aclose()

    with running(FakeVllm()) as url:
        engine = load(folder, vllm_url=url)
        gc.disable()
        try:
            before = num_sockets()
            for _ in range(5):
                run(ask(engine, make_request(max_tokens=3)))
                run(end_early(engine))
            wait_until(lambda: num_sockets() <= before)  # the server, in a thread of this process, closes its ends
        finally:
            gc.enable()
            engine.close()


def test_no_connection_is_lost_wherever_a_choice_is_cancelled(folder: Path) -> None:
    async def end_after(engine: Engine, turns: int, pause_s: float) -> None:
        generation = engine.generate(make_request(n=4, max_tokens=900))
        for _ in range(turns):
            await asyncio.sleep(pause_s)
        await generation.aclose()

    with running(FakeVllm()) as url:
        engine = load(folder, vllm_url=url)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for turns in range(50):
                for pause_s in (0, 0.0001):
                    run(end_after(engine, turns, pause_s))
            gc.collect()
        engine.close()

    assert [str(warning.message) for warning in caught] == []


def test_a_choice_ends_soon_if_more_of_it_has_arrived_already(folder: Path) -> None:
    vllm = FakeVllm()
    vllm.sends_at_once = True

    async def work(engine: Engine) -> None:
        generation = engine.generate(make_request(n=2, max_tokens=900))
        await anext(generation)
        for index in (0, 1):
            generation.finish(index)
        assert await read(generation) == {}

    with running(vllm) as url:
        engine = load(folder, vllm_url=url)
        try:
            run(work(engine))
            assert 0 < engine.stats().completion_tokens < 100
            assert len(run(ask(engine, make_request(max_tokens=900)))[0].tokens) == 900
        finally:
            engine.close()


def num_sockets() -> int:
    return sum(os.path.realpath(f"/proc/self/fd/{fd}").rpartition("/")[2].startswith("socket:") for fd in _fds())


def _fds() -> list[str]:
    return os.listdir("/proc/self/fd")


# --- the queue ---


def test_the_queue_is_fair_to_tenants_and_keeps_priorities(folder: Path) -> None:
    vllm = FakeVllm()

    async def work(engine: Engine) -> list[tuple[int, ...]]:
        first = engine.generate(make_request((1,), n=MAX_SEQUENCES, max_tokens=900, tenant="a"))
        await anext(first)
        queued = [
            engine.generate(make_request((prompt,), max_tokens=1, tenant=tenant, priority=priority))
            for prompt, tenant, priority in [(2, "a", 0), (3, "a", 0), (4, "b", 0), (5, "c", -1), (6, "a", 1)]
        ]
        first.finish(0)
        await asyncio.gather(*map(read, queued))
        await first.aclose()
        prompts = [tuple(body["token_ids"]) for body in vllm.requests]
        return [prompt for prompt in prompts if prompt not in [(0,), (1,)]]

    with running(vllm) as url:
        engine = load(folder, vllm_url=url)
        try:
            assert run(work(engine)) == [(6,), (4,), (2,), (3,), (5,)]
        finally:
            engine.close()
