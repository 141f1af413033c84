"""`crossette serve` as a real process, with the real model, the SDK and signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import IO, Any

import httpx
import pytest
from openai import OpenAI

from crossette.models.store import StoredModel
from support.api_server import DIALECTS, PREFIXES
from support.otlp_collector import attributes, collecting
from support.tiny_model import write_tiny_gguf

LIMIT_S = 120
"""The limit of all waits: loading the model takes seconds, on a busy machine more."""


@dataclass(frozen=True)
class Served:
    root: str
    model: str
    banner: str
    process: subprocess.Popen[str]

    def stream(self, prefix: str, max_tokens: int) -> Any:  # Any: httpx's own context manager
        """A stream of exactly so many tokens."""
        body = {"model": self.model, "prompt": "Once", "max_tokens": max_tokens, "stream": True, "ignore_eos": True}
        return httpx.stream("POST", f"{self.root}{prefix}/completions", json=body, timeout=LIMIT_S)


@contextmanager
def serving(
    model: StoredModel, *arguments: str, log: Path | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """A server whose address is read from its banner, or from its JSON log file."""
    command = ["serve", model.name, "--port", "0", "--kv-cache", "256MiB", *arguments]
    with log.open("w") if log else nullcontext() as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "crossette", *command],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, **(environ or {})},
        )
    assert process.stdout is not None
    try:
        root, banner = _address_in_log(process, log) if log else _address_in_banner(process.stdout)
        yield Served(root, model.name, banner, process)
    finally:
        process.terminate()
        process.wait(LIMIT_S)
        process.stdout.close()


def _address_in_banner(lines: IO[str]) -> tuple[str, str]:
    banner = ""
    while not (found := re.search(r"^curl (https?://\S+)/v1/chat/completions", banner, re.MULTILINE)):
        line = lines.readline()
        assert line, f"the server exited before it listened:\n{banner}"
        banner += line
    return found[1], banner


def _address_in_log(process: subprocess.Popen[str], log: Path) -> tuple[str, str]:
    while not (found := re.search(r'"message": "Listening on (https?://[^"]+)"', log.read_text())):
        assert process.poll() is None, f"the server exited before it listened:\n{log.read_text()}"
        sleep(0.1)
    return found[1], ""


@pytest.fixture(scope="module")
def served(real_model: StoredModel) -> Iterator[Served]:
    with serving(real_model) as running:
        yield running


def test_the_banner_has_the_model_and_the_urls(served: Served) -> None:
    for fact in (served.model, "llama", "8192 tokens", f"{served.root}/v1", f"{served.root}/inference/v1"):
        assert fact in served.banner


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_the_capital_of_france_is_paris(served: Served, prefix: str, streamed: bool, endpoint: str) -> None:
    with OpenAI(base_url=served.root + prefix, api_key="none", max_retries=0, timeout=LIMIT_S) as sdk:
        if endpoint == "chat":
            text = _chat(sdk, served.model, "Name the capital of France.", streamed)
        else:
            text = _complete(sdk, served.model, "The capital of France is", streamed)

    assert "Paris" in text


def _chat(sdk: OpenAI, model: str, question: str, streamed: bool) -> str:
    if streamed:
        chunks = sdk.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=16, stream=True
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    answer = sdk.chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=16
    )
    return answer.choices[0].message.content or ""


def _complete(sdk: OpenAI, model: str, prompt: str, streamed: bool) -> str:
    if streamed:
        chunks = sdk.completions.create(model=model, prompt=prompt, temperature=0, max_tokens=8, stream=True)
        return "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    return sdk.completions.create(model=model, prompt=prompt, temperature=0, max_tokens=8).choices[0].text


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_after_a_signal_running_requests_finish_and_the_exit_status_is_0(
    real_model: StoredModel, stop: signal.Signals
) -> None:
    with serving(real_model) as served, served.stream("/v1", 60) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        served.process.send_signal(stop)
        frames = [line for line in [first, *lines] if line.startswith("data: ")]
        status = served.process.wait(LIMIT_S)

    reasons = [json.loads(frame[6:])["choices"][0]["finish_reason"] for frame in frames[:-1]]
    assert (reasons[-1], frames[-1]) == ("length", "data: [DONE]")
    assert status == 0


def test_streams_that_exceed_the_drain_timeout_end_with_an_error_frame(real_model: StoredModel) -> None:
    with serving(real_model, "--drain-timeout", "1") as served, served.stream("/inference/v1", 8000) as answer:
        lines = answer.iter_lines()
        next(lines)
        served.process.send_signal(signal.SIGTERM)
        last = [line for line in lines if line.startswith("data: ")][-1]
        status = served.process.wait(LIMIT_S)

    error = json.loads(last[6:])["error"]
    assert (error["type"], error["code"]) == DIALECTS["/inference/v1"].errors["overloaded"]
    assert status == 0


def test_a_second_signal_ends_streams_at_once_with_an_error_frame(
    real_model: StoredModel, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(real_model, "--drain-timeout", "600") as served, served.stream("/v1", 8000) as answer:
        lines = answer.iter_lines()
        next(lines)
        served.process.send_signal(signal.SIGINT)
        sleep(0.5)  # so that it handles the first one; if it were slower, the second would still end the stream
        served.process.send_signal(signal.SIGINT)
        last = [line for line in lines if line.startswith("data: ")][-1]
        status = served.process.wait(LIMIT_S)

    assert "shutting down" in json.loads(last[6:])["error"]["message"]
    assert status == 0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_small_model_calls_the_required_tool(served: Served, prefix: str) -> None:
    """At the highest temperature, as the call is enforced."""
    parameters: dict[str, object] = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["C", "F"]}},
        "required": ["city", "unit"],
    }
    with OpenAI(base_url=served.root + prefix, api_key="none", max_retries=0, timeout=LIMIT_S) as sdk:
        answer = sdk.chat.completions.create(
            model=served.model,
            messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
            tools=[{"type": "function", "function": {"name": "weather", "parameters": parameters}}],
            tool_choice="required",
            parallel_tool_calls=False,
            temperature=2,
            n=8,
            max_tokens=200,
        )

    for choice in answer.choices:
        (call,) = choice.message.tool_calls or []
        assert choice.finish_reason == "tool_calls"
        assert call.type == "function"
        assert call.function.name == "weather"
        arguments = json.loads(call.function.arguments)
        assert (arguments.keys(), arguments["unit"] in ("C", "F")) == ({"city", "unit"}, True)


def test_two_models_take_turns_in_the_memory_of_one_and_give_it_back(real_model: StoredModel, tmp_path: Path) -> None:
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", layers=2, width=128)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / real_model.name).symlink_to(real_model.path)
    config = tmp_path / "crossette.toml"
    config.write_text(f'[loading]\nmemory = "355MiB"\n[models.tiny]\nref = "{tiny}"\nalias = "small"\n')
    with (
        serving(real_model, "--config", str(config), environ={"CROSSETTE_HOME": str(tmp_path)}) as served,
        httpx.Client(base_url=f"{served.root}/v1", timeout=LIMIT_S) as client,
    ):

        def states() -> list[tuple[str, str]]:
            return [(entry["id"], entry["state"]) for entry in client.get("/models").json()["data"]]

        def resident_bytes() -> float:
            page = client.get(f"{served.root}/metrics").text
            return float(re.findall(r"^process_resident_memory_bytes (\S+)", page, re.MULTILINE)[0])

        def use(model: str) -> None:
            body = {"model": model, "prompt": "Once", "max_tokens": 4}
            assert client.post("/completions", json=body).status_code == 200

        assert states() == [(served.model, "cold"), ("tiny", "cold"), ("small", "cold")]
        use(served.model)
        use("small")
        assert states() == [(served.model, "asleep"), ("tiny", "awake"), ("small", "awake")]
        without = resident_bytes()
        use(served.model)
        loaded = resident_bytes()
        use("tiny")
        assert resident_bytes() < without + (loaded - without) / 10


def test_a_port_in_use_is_an_error_of_one_sentence(real_model: StoredModel, served: Served) -> None:
    port = served.root.rpartition(":")[2]

    assert f"Can't listen on 127.0.0.1:{port}" in startup_error(real_model, "--port", port)


def test_an_unknown_tool_format_is_an_error_of_one_sentence(real_model: StoredModel) -> None:
    text = startup_error(real_model, "--port", "0", "--tool-format", "semaphore")

    assert "'semaphore' is unknown" in text
    assert "hermes" in text


def startup_error(model: StoredModel, *arguments: str) -> str:
    """The error of a server that does not start."""
    ended = subprocess.run(
        [sys.executable, "-m", "crossette", "serve", model.name, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_log_metrics_and_span_of_a_request_agree(real_model: StoredModel, tmp_path: Path) -> None:
    body = {"model": real_model.name, "prompt": "Once upon a time", "max_tokens": 12, "ignore_eos": True}
    log = tmp_path / "log"
    with collecting() as collector:
        flags = ("--log-format", "json", "--otlp-endpoint", collector.url)
        with serving(real_model, *flags, log=log) as served:
            headers = {"x-request-id": "sent-by-a-test"}
            answer = httpx.post(f"{served.root}/v1/completions", json=body, headers=headers, timeout=LIMIT_S).json()
            page = ""
            while "crossette_prompt_tokens_total{" not in page:  # a request is counted shortly after its response
                page = httpx.get(f"{served.root}/metrics", timeout=LIMIT_S).text
            served.process.terminate()
            assert served.process.stdout is not None
            assert served.process.stdout.read() == ""
        (span,) = collector.spans  # exported at the exit of the process at the latest

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (listening,) = [line for line in lines if "url" in line]
    assert (listening["url"], listening["model"], listening["needs_key"]) == (served.root, real_model.name, False)
    (line,) = [line for line in lines if line.get("answer_id") == answer["id"]]
    usage = answer["usage"]
    counts = (usage["prompt_tokens"], usage["completion_tokens"])
    spanned = attributes(span)
    assert (line["request_id"], line["model"]) == ("sent-by-a-test", real_model.name)
    assert line["trace_id"] == span.trace_id.hex()
    assert 0 <= line["queued_s"] == round(spanned["crossette.queued_s"], 6) <= line["time_to_first_token_s"]
    assert (line["prompt_tokens"], line["completion_tokens"]) == counts
    assert (spanned["gen_ai.usage.input_tokens"], spanned["gen_ai.usage.output_tokens"]) == counts
    for name, count in zip(
        ("prompt_tokens", "completion_tokens", "generated_tokens"), (*counts, counts[1]), strict=True
    ):
        assert f'crossette_{name}_total{{model="{real_model.name}"}} {count}.0' in page
